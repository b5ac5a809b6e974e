"""What the machine has, also on systems that say less than Linux does."""

import os
import re
from pathlib import Path

import pytest

from spiritlm_pl.runtime.devices import num_cores
from spiritlm_pl.runtime.parallel import num_workers

ROOT = Path(__file__).parents[2]


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert num_cores() == 3 and num_workers(None, 1000) == 3


@pytest.mark.parametrize(("told", "expected"), [(6, 6), (None, 1)])
def test_cores_are_those_of_the_machine_where_the_system_says_no_more(
    monkeypatch: pytest.MonkeyPatch, told: int | None, expected: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS and Windows
    monkeypatch.setattr(os, "cpu_count", lambda: told)
    assert num_cores() == expected


def test_nobody_else_counts_cores() -> None:
    rooms = ("spiritlm_pl", "modules", "datamodules", "callbacks", "benchmarks")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py") if path.name != "devices.py"]
    counting = [path for path in files if re.search(r"sched_getaffinity|cpu_count", path.read_text(encoding="utf-8"))]
    assert len(files) > 200 and not counting
