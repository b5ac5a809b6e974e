"""What the machine has, also on systems that say less than Linux does."""

import os
import re
from pathlib import Path

import pytest

from spiritlm_pl.runtime import devices
from spiritlm_pl.runtime.devices import cpu_quotas, limited_cores, num_cores
from spiritlm_pl.runtime.parallel import num_workers

ROOT = Path(__file__).parents[2]


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cpu_quotas", lambda: [])
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert num_cores() == 3 and num_workers(None, 1000) == 3


@pytest.mark.parametrize(("told", "expected"), [(6, 6), (None, 1)])
def test_cores_are_those_of_the_machine_where_the_system_says_no_more(
    monkeypatch: pytest.MonkeyPatch, told: int | None, expected: int
) -> None:
    monkeypatch.setattr(devices, "cpu_quotas", lambda: [])
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS and Windows
    monkeypatch.setattr(os, "cpu_count", lambda: told)
    assert num_cores() == expected


def control_groups(root: Path, groups: str, **files: str) -> Path:
    """Write what a system says of control groups; in the names of files, __ stands for a folder's slash."""
    for name, text in {"proc__self__cgroup": groups, **files}.items():
        path = root / name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_container_gives_as_many_cores_as_its_quota_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = control_groups(tmp_path / "2", "0::/\n", sys__fs__cgroup__cpu_max="250000 100000\n")
    assert cpu_quotas(second) == [2.5]
    below = control_groups(
        tmp_path / "below",
        "0::/pods/one\n",
        sys__fs__cgroup__cpu_max="max 100000\n",
        sys__fs__cgroup__pods__cpu_max="400000 100000\n",
        sys__fs__cgroup__pods__one__cpu_max="50000 100000\n",
    )
    assert sorted(cpu_quotas(below)) == [0.5, 4.0]
    first = control_groups(
        tmp_path / "1",
        "4:memory:/docker/a\n3:cpuset:/docker/a\n1:cpu,cpuacct:/docker/a\n0::/\n",
        sys__fs__cgroup__cpu__cpu_cfs_quota_us="300000\n",  # the container's own; /docker/a is out of its sight
        sys__fs__cgroup__cpu__cpu_cfs_period_us="100000\n",
    )
    assert cpu_quotas(first) == [3.0]
    free = control_groups(
        tmp_path / "free",
        "1:cpu:/\n0::/\n",
        sys__fs__cgroup__cpu__cpu_cfs_quota_us="-1\n",
        sys__fs__cgroup__cpu__cpu_cfs_period_us="100000\n",
    )
    assert cpu_quotas(free) == [] == cpu_quotas(tmp_path / "no Linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    monkeypatch.setattr(devices, "cpu_quotas", lambda: [2.5, 8.0])
    assert num_cores() == 3


def test_the_environment_may_ask_for_fewer_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(devices, "cpu_quotas", lambda: [])
    monkeypatch.setenv("SPIRITLM_CORES", "64")
    assert num_cores() == 8
    monkeypatch.setenv("SPIRITLM_CORES", "2")
    assert num_cores() == 2 and num_workers(None, 1000) == 2
    with limited_cores(1):
        assert num_cores() == 1
    with limited_cores(None):
        assert num_cores() == 2
    for threads in ("", "5"):
        for name in devices.THREADS:
            monkeypatch.setenv(name, threads)
            if not threads:
                monkeypatch.delenv(name)
        devices.limit_threads()
        assert {os.environ[name] for name in devices.THREADS} == {threads or "2"}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with limited_cores(4):
        assert [os.environ[name] for name in devices.THREADS] == ["3", "4"]
    assert [os.environ[name] for name in devices.THREADS] == ["3", "5"]
    for wrong in ("0", "-1", "two", "1.5", "²"):
        monkeypatch.setenv("SPIRITLM_CORES", wrong)
        with pytest.raises(ValueError, match="SPIRITLM_CORES must be a whole number above 0, but is"):
            num_cores()


def test_nobody_else_counts_cores() -> None:
    rooms = ("spiritlm_pl", "modules", "datamodules", "callbacks", "benchmarks")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py") if path.name != "devices.py"]
    counting = [path for path in files if re.search(r"sched_getaffinity|cpu_count", path.read_text(encoding="utf-8"))]
    assert len(files) > 200 and not counting
