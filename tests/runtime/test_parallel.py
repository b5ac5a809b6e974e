import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spiritlm_pl.runtime.parallel import parallel_map

SCRIPT = """
import sys
from spiritlm_pl.runtime.parallel import parallel_map
from slow import slow

if __name__ == "__main__":
    try:
        for result in parallel_map(slow, range(640), 2, "waiting"):
            pass
    except KeyboardInterrupt:
        sys.exit(130)
"""
SLOW = """
import sys, time
from pathlib import Path

if not hasattr(sys.modules["__main__"], "__file__"):  # in the process that forks the workers
    Path("importing").touch()
    time.sleep(1)

def slow(item):
    Path(f"{item}.done").touch()
    time.sleep(0.2)
    return item
"""


def alive_in_group(group: int) -> list[str]:
    """Processes of a group, but for zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, owner = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it ended meanwhile
        if int(owner) == group and state != "Z":
            found.append(path.parent.name)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("started", [False, True], ids=["as workers start", "as workers work"])
def test_interrupt_ends_all_processes_at_once_and_in_silence(tmp_path: Path, started: bool) -> None:
    (tmp_path / "main.py").write_text(SCRIPT)
    (tmp_path / "slow.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    pattern, count = ("*.done", 5) if started else ("importing", 1)
    while time.monotonic() < deadline and len(list(tmp_path.glob(pattern))) < count:
        time.sleep(0.02)
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "")
    assert len(list(tmp_path.glob("*.done"))) < 40
    while time.monotonic() < begin + 20 and alive_in_group(process.pid):
        time.sleep(0.1)
    assert not alive_in_group(process.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_workers_end_when_the_process_is_killed_that_wants_their_results(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(SCRIPT)
    (tmp_path / "slow.py").write_text(SLOW)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    process = subprocess.Popen([sys.executable, "main.py"], cwd=tmp_path, start_new_session=True, env=environment)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(tmp_path.glob("*.done"))) < 5:
        time.sleep(0.02)
    assert len(alive_in_group(process.pid)) > 2
    process.kill()
    process.wait(60)
    begin = time.monotonic()
    while time.monotonic() < begin + 20 and alive_in_group(process.pid):
        time.sleep(0.1)
    assert not alive_in_group(process.pid)


class Remembering:
    """A function that says how often it was called before in its process."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, item: int) -> tuple[int, int]:
        self.calls += 1
        return os.getpid(), self.calls


def test_each_process_keeps_one_copy_of_the_function() -> None:
    found = list(parallel_map(Remembering(), range(64), 2, "counting"))
    processes = {process for process, _ in found}
    assert os.getpid() not in processes and len(processes) <= 2
    for process in processes:
        calls = [number for other, number in found if other == process]
        assert calls == list(range(1, len(calls) + 1))


def double(item: int) -> int:
    return 2 * item


def test_items_are_read_as_results_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritlm_pl.runtime.parallel.AHEAD", 2)
    read: list[int] = []

    def items() -> Iterator[int]:
        for item in range(640):
            read.append(item)
            yield item

    for number, result in enumerate(parallel_map(double, items(), 2, "doubling", total=640)):
        assert result == 2 * number and len(read) <= number + 2 * 2 * 8 + 8
    assert len(read) == number + 1 == 640
