"""The benchmarks still fit the package that they measure."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

STAGES = ("predict", "hubert", "vocoder", "extract-f0", "pitch", "align")  # in the order in which one needs another


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script of all stages, as a module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.setenv("SPIRITLM_TRUST", "scale")
    return import_module("scale")


def test_every_stage_of_the_scale_benchmark_runs(
    scale: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "DIFFERENT", 24)
    assert tuple(scale.STAGES) == STAGES
    small, larger = tmp_path / "small", tmp_path / "larger"
    scale.made(small, 12)
    scale.made(larger, 24)
    for stage in STAGES:
        found = scale.measure(stage, small, larger)
        assert found["seconds"] > 0 and found["peak"] > 0, stage
