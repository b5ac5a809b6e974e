"""The benchmark of building blocks measures the peak of its own process, also where no /proc tells it."""

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_the_peak_is_told_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    code = importlib.import_module("build_blocks").PEAK
    found: dict[str, Any] = {}
    exec(code, found)
    with_proc = found["peak_kib"]()
    is_file = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: not str(path).startswith("/proc") and is_file(path))
    assert 2**16 < with_proc < 2**26
    assert found["peak_kib"]() > 0.9 * with_proc
