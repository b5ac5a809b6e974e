# Everything a newcomer types. Both main targets set up what they need.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help quickstart test test-readers check lint typecheck install docs clean

help:  ## This list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and sys.version_info[:2] != (3, 12))' \
	  || { echo "Python 3.11 or 3.12 with venv is needed: apt-get install python3 python3-venv, or make PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

install: $(INSTALLED)  ## The environment in .venv (about 7 GB, some minutes)

quickstart: $(INSTALLED)  ## The whole path in miniature, on real speech
	$(BIN)/spiritlm quickstart

test: $(INSTALLED)  ## The test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

test-readers: $(INSTALLED)  ## Exports in other tools, each in an environment of its own (some GB, in ~/.cache)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/readers/check_readers.py

lint: $(INSTALLED)  ## Style and the import rules between rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports

typecheck: $(INSTALLED)  ## Strict types
	$(BIN)/mypy

check: lint typecheck test  ## All that a change must pass

docs: $(INSTALLED)  ## API pages from the docstrings, in site/
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	$(BIN)/pdoc --docformat google --output-directory site spiritlm_pl

clean:  ## Remove the environment and caches; runs and corpora stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
