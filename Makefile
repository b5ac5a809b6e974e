# Everything a newcomer types. Both main targets set up what they need.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
SLOW_ROOMS := tests/benchmarks tests/callbacks tests/interop tests/modules tests/serve tests/storage tests/test_configs.py \
  tests/test_packaging.py tests/test_warm_python.py tests/generation/test_starting.py
INSTALLED := $(VENV)/.installed

LATEST := .venv-latest
LOCKING := .venv-lock
LOCK := $(LOCKING)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header
define RIGHT_PYTHON
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
  || { echo "Python 3.11 or 3.12 with venv is needed: apt-get install python3 python3-venv, or make PYTHON=..."; exit 1; }
endef

.PHONY: help quickstart test test-fast test-latest test-readers test-official test-trl check lint typecheck install lock docs docs-serve clean

help:  ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# The lock has every package with its hash, so that pip alone installs what the tests last passed with. Some packages have
# sources only, and pocketsphinx has no wheel for Python 3.12: they are built with the tools of requirements-build.lock, and
# not with whatever is newest that day.
$(INSTALLED): pyproject.toml requirements.lock requirements-build.lock
	$(RIGHT_PYTHON)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements-build.lock
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip install --quiet --no-deps --require-hashes --no-build-isolation \
	  --requirement requirements.lock
	rm -rf *.egg-info  # of an earlier version, which would be believed
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	touch $@

install: $(INSTALLED)  ## The environment in .venv (about 7 GB, some minutes), exactly as the lock has it

quickstart: $(INSTALLED)  ## The whole path in miniature, on real speech
	$(BIN)/spiritlm quickstart

test: $(INSTALLED)  ## The test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-fast: $(INSTALLED)  ## Most of them, in under two minutes on two cores: without what is slow, and without SLOW_ROOMS
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not slow" $(addprefix --ignore=,$(SLOW_ROOMS))

test-latest:  ## The same with the newest packages that pyproject.toml allows; says which are newer than the lock
	$(RIGHT_PYTHON)
	test -x $(LATEST)/bin/python || $(PYTHON) -m venv $(LATEST)
	$(LATEST)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable ".[dev]"
	@grep -oE '^[a-z0-9.-]+==[^ ]+' requirements.lock > $(LATEST)/locked.txt
	@$(LATEST)/bin/python -m pip list --format=freeze --exclude pip --exclude spiritlm-pl | tr 'A-Z_' 'a-z-' \
	  | grep -vxFf $(LATEST)/locked.txt || echo "Nothing is newer than the lock."
	OMP_NUM_THREADS=1 $(LATEST)/bin/python -m pytest --numprocesses 2 --dist worksteal

lock:  ## The newest packages that pyproject.toml allows, with hashes; run the tests before you commit it
	test -x $(LOCKING)/bin/uv || { $(PYTHON) -m venv $(LOCKING) && $(LOCKING)/bin/python -m pip install --quiet uv; }
	printf '%s\n' 'setuptools>=77,<90' scikit-build-core cython cmake ninja | $(LOCK) - --output-file requirements-build.lock
	$(LOCK) pyproject.toml --extra dev --output-file requirements.lock

test-readers: $(INSTALLED)  ## Exports in other tools, each in an environment of its own (some GB, in ~/.cache)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/readers/check_readers.py

test-official: $(INSTALLED)  ## Figures of sWUGGY and sBLIMP beside the official toolkit's (400 MB, in ~/.cache)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/benchmarks/check_official.py

test-trl: $(INSTALLED)  ## Losses of preference pairs beside those of trl (5 MB, in ~/.cache)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/preferences/check_trl.py

lint: $(INSTALLED)  ## Style and the import rules between rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports

typecheck: $(INSTALLED)  ## Strict types
	$(BIN)/mypy

check: lint typecheck docs test  ## All that a change must pass

# Not with --quiet, which hides warnings from --strict, too.
docs: $(INSTALLED)  ## The documentation with the API reference, in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(INSTALLED)  ## The same at http://127.0.0.1:8000, built anew whenever a page is saved
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

clean:  ## Remove the environment and caches; runs and corpora stay
	rm -rf $(VENV) $(LATEST) $(LOCKING) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache site
