"""One process has a piece of work; what the dead have is taken over, by one."""

import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from spiritlm_pl.runtime import claims
from spiritlm_pl.runtime.claims import DEAD_AFTER, GIVE_UP_AFTER, Claim, newest, owner, take


def _of_process(folder: Path, process: int, machine: str | None = None) -> Path:
    """Let a claim on "work" be that of another process."""
    claim = take(folder, "work")
    assert claim is not None
    told = owner(claim.path) | {"process": process} | ({"machine": machine} if machine else {})
    claim.path.write_text(json.dumps(told))
    return claim.path


def _ended() -> int:
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()
    assert process.pid is not None
    return process.pid


def test_work_is_claimed_once_and_given_back(tmp_path: Path) -> None:
    claim = take(tmp_path / "claims", "work")
    assert claim is not None and claim.beat()
    assert owner(claim.path)["process"] == os.getpid()
    assert take(tmp_path / "claims", "work") is None
    assert take(tmp_path / "claims", "work-1") is not None
    claim.release()
    assert take(tmp_path / "claims", "work") is not None


def test_names_with_a_common_beginning_are_other_work(tmp_path: Path) -> None:
    assert take(tmp_path, "share_1-0") is not None
    assert newest(tmp_path, "share_1") is None
    assert take(tmp_path, "share_1") is not None


def test_a_claim_of_an_ended_process_is_taken_over(tmp_path: Path) -> None:
    dead = _of_process(tmp_path, _ended())
    claim = take(tmp_path, "work")
    assert claim is not None and claim.path.name == "work.2.json" and not dead.exists()
    assert not Claim(dead).beat() and claim.beat()
    assert take(tmp_path, "work") is None


@pytest.mark.parametrize(("silent", "taken"), [(0.5 * DEAD_AFTER, False), (2 * DEAD_AFTER, True)])
def test_a_claim_of_another_machine_lives_by_its_heartbeat(tmp_path: Path, silent: float, taken: bool) -> None:
    path = _of_process(tmp_path, _ended(), machine="elsewhere")  # no process of such a number runs here
    before = path.stat().st_mtime - silent
    os.utime(path, (before, before))
    assert (take(tmp_path, "work") is not None) == taken


def test_of_two_that_take_over_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _of_process(tmp_path, _ended())
    link = os.link

    def beaten(source: Path, target: Path) -> None:
        """Let another process be faster, between the look at the dead claim and the new one."""
        target.write_text(json.dumps({"host": "b", "machine": "b", "process": 1, "since": 0}))
        link(source, target)

    monkeypatch.setattr(claims.os, "link", beaten)
    assert take(tmp_path, "work") is None
    found = newest(tmp_path, "work")
    assert found is not None and owner(found)["machine"] == "b"


def test_an_owner_that_slept_learns_that_it_lost(tmp_path: Path) -> None:
    claim = take(tmp_path, "work")
    assert claim is not None
    claim.path.with_name("work.2.json").write_text(claim.path.read_text())
    assert not claim.beat()


def _count(folder: Path, many: int) -> int:
    return sum(take(folder, f"work-{number}") is not None for number in range(many))


def test_many_processes_take_each_work_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        taken = pool.starmap(_count, [(tmp_path, 40)] * 3)
        assert sum(taken) == 40


def test_an_error_that_passes_ends_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, now = take(tmp_path, "work"), 1000.0
    assert claim is not None
    monkeypatch.setattr(claims.time, "monotonic", lambda: now)

    def stale(path: Path) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    assert claim.beat()
    with monkeypatch.context() as broken:
        broken.setattr(claims.os, "utime", stale)
        now += GIVE_UP_AFTER - 1
        assert claim.beat()
    assert claim.beat()  # counted anew from here
    monkeypatch.setattr(claims.os, "utime", stale)
    now += GIVE_UP_AFTER - 1
    assert claim.beat()
    now += 2
    assert not claim.beat()
    monkeypatch.undo()
    assert not claim.beat()  # another may have begun in the meantime


def test_a_claim_that_cannot_be_removed_is_left_to_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = take(tmp_path, "work")
    assert claim is not None

    def unreachable(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", unreachable)
        claim.release()
    assert claim.path.exists()
    claim.release()
    claim.release()
    assert not claim.path.exists()
