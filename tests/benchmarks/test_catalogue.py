"""The catalogue tells what the benchmarks are, and wrong names, folders and options are told before slow imports."""

import subprocess
import sys

import pytest

from spiritlm_pl.benchmarks.catalogue import CATALOGUE
from spiritlm_pl.registry import find_all, registered

OWN = {name for name, point in registered("benchmarks").items() if point.value.startswith("spiritlm_pl.")}


def test_the_catalogue_has_every_benchmark_of_the_package() -> None:
    assert set(CATALOGUE) == OWN


@pytest.mark.parametrize("name", CATALOGUE)
def test_facts_and_options_are_those_of_the_benchmark(name: str) -> None:
    benchmark = find_all("benchmarks", leave_out=OWN - {name})[name]
    assert benchmark.info is CATALOGUE[name].info
    assert sorted(benchmark.options) == sorted(CATALOGUE[name].options)


RUNS = """
import sys
from spiritlm_pl.cli.main import guarded, run
from pathlib import Path
Path("model/lm").mkdir(parents=True)
for words in (
    ["list"],
    ["list", "swugy"],
    ["run", "swugy", ".", "out"],
    ["run", "swuggy", "nowhere", "out"],
    ["run", "swuggy", ".", "out", "--options", "{half: dev}"],
    ["run", "swuggy", ".", "out", "--model", "nobody"],
    ["run", "swuggy", ".", "out", "--model", "."],
    ["run", "swuggy", ".", "out", "--model", "model", "--speech-tokenizer", "nowhere"],
):
    print(guarded(lambda: run(["benchmark", *words])))
print(sorted({"torch", "transformers", "lhotse"} & sys.modules.keys()))
"""


def test_refusals_do_not_wait_for_torch(tmp_path) -> None:
    done = subprocess.run([sys.executable, "-c", RUNS], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    told = done.stderr.splitlines()
    assert done.stdout.splitlines()[-8:] == [*["2"] * 7, "[]"], done.stderr
    assert len(told) == 7
    for line, message in zip(
        told,
        (
            "but is 'swugy' instead; did you mean swuggy?",
            "did you mean swuggy?",
            "but nowhere is not there",
            "--options must be among split, mode, cache, but are half",
            "but nobody is not there",
            "but . holds neither lm/ nor spiritlm.json or config.json",
            "--speech-tokenizer must be a folder, but nowhere is not there",
        ),
        strict=True,
    ):
        assert line.endswith(message)
    assert not (tmp_path / "out").exists()
