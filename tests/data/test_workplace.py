"""Work that processes share: none waits for ever, whatever their number, order and fate, or what others have left."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from spiritlm_pl.data import workplace
from spiritlm_pl.data.workplace import PROCESSES, Workplace
from spiritlm_pl.runtime import claims
from spiritlm_pl.runtime.left_over import this_machine


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workplace, "POLL_SECONDS", 0.005)
    monkeypatch.setattr(workplace, "TOLD_AGAIN", 1.5)


def nothing(rank: int) -> None:
    """Do nothing before or during the work of a process."""


def job(
    folder: Path,
    size: int,
    stages: list[int],
    before: Callable[[int], None] = nothing,
    during: Callable[[int], None] = nothing,
) -> list[str]:
    """Do stages of so many parts in `size` threads, the first of which removes all at the end; return what became."""
    ended = ["hangs"] * size

    def process(rank: int) -> None:
        place = Workplace(folder)
        place.rank, place.size = rank, size
        try:
            before(rank)
            place.begin("work", lambda record: True)
            for stage, parts in enumerate(stages):
                record = lambda part, stage=stage: place.records / f"{stage}-{part}.json"  # noqa: E731

                def do(part: int, record: Callable[[int], Path] = record) -> int:
                    during(rank)
                    record(part).parent.mkdir(parents=True, exist_ok=True)
                    record(part).write_text(json.dumps(part))
                    return part

                assert place.shared(list(range(parts)), record, do, 1, "doing") == list(range(parts))
            place.leave()
            if rank == 0:
                place.finish()
                assert not place.records.exists()
            ended[rank] = "done"
        except Exception as error:
            place.fail(error)
            ended[rank] = f"{type(error).__name__}: {error}"

    threads = [threading.Thread(target=process, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return ended


@pytest.mark.parametrize("stages", [[3, 1], [7, 2], [3, 0]])
def test_processes_without_a_share_of_the_last_stage_end_too(tmp_path: Path, stages: list[int]) -> None:
    for number in range(5):
        assert job(tmp_path / str(number), 3, stages) == ["done"] * 3


def test_a_slow_process_finds_work_that_is_complete_already(tmp_path: Path) -> None:
    def killed_at_the_end(rank: int) -> None:
        if rank:
            threading.Event().wait(0.3)

    folder = tmp_path / "new"
    alone = Workplace(folder)
    alone.begin("work", lambda record: True)
    (folder / "records").mkdir()
    for name in ("0-0", "0-1", "1-0"):
        (folder / f"records/{name}.json").write_text(json.dumps(int(name[-1])))
    assert job(folder, 3, [2, 1], killed_at_the_end) == ["done"] * 3


def test_a_message_of_an_earlier_job_is_not_taken_for_this_one(tmp_path: Path) -> None:
    failing(tmp_path)

    def late(rank: int) -> None:
        if not rank:
            threading.Event().wait(0.3)

    assert job(tmp_path, 3, [4, 1], late) == ["done"] * 3


def test_what_a_killed_job_has_said_is_not_taken_for_this_one(tmp_path: Path) -> None:
    talk = failing(tmp_path)
    for rank in (1, 2):
        for what in ("begin", "leave"):
            (talk / f"{what}-{rank}").write_text("of before")
    (tmp_path / "build.json").write_text(json.dumps({"identity": "work", "processes": {"1": "of before"}}))
    assert job(tmp_path, 3, [4, 1]) == ["done"] * 3


def failing(folder: Path) -> Path:
    """Let a process fail that belongs to a job of several, and return the folder in which it tells the others."""
    place = Workplace(folder)
    place.size = 2
    place.fail(ValueError("of another job"))
    return place._talk  # which the job's first process may just have removed


def test_an_error_of_another_job_that_cannot_be_told_apart_does_not_end_one_that_has_begun(tmp_path: Path) -> None:
    all_begun, begun = threading.Barrier(3), set[int]()

    def during(rank: int) -> None:
        if rank not in begun:  # one that is still about to begin would hear the error
            begun.add(rank)
            all_begun.wait(20)
        failing(tmp_path)

    assert job(tmp_path, 3, [4, 2], during=during) == ["done"] * 3


def test_an_error_of_another_launch_is_not_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by a job that waits for its own processes to begin."""
    launches = threading.local()
    for module in (workplace, claims):
        monkeypatch.setattr(module, "launch_id", lambda: getattr(launches, "id", "MASTER_PORT=29500"))

    def other(rank: int) -> None:
        if rank == 2:
            launches.id = "MASTER_PORT=29501"
            failing(tmp_path)
            del launches.id
            threading.Event().wait(0.1)

    assert job(tmp_path, 3, [4, 1], other) == ["done"] * 3


@pytest.mark.parametrize("machine", ["here", "elsewhere"])
def test_others_of_a_launch_whose_first_process_is_refused_end_too(
    machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They talk in a folder of their own, and only once the folder is theirs."""
    monkeypatch.setattr(claims, "launch_id", lambda: "SLURM_JOB_ID=7 SLURM_STEP_ID=1")
    claim = tmp_path / f"{claims.WRITER}.1.json"
    told = {"host": "b", "machine": this_machine() if machine == "here" else "c", "process": os.getppid()}
    claim.write_text(json.dumps(told | {"launch": "SLURM_JOB_ID=7 SLURM_STEP_ID=0"}))
    beat = threading.Timer(0.3, os.utime, [claim])
    beat.start()
    place = Workplace(tmp_path / "new")
    place.rank, place.size = 1, 2
    with pytest.raises(
        ValueError, match=f"out must be a folder .* process {os.getppid()} on b writes to {tmp_path}: w"
    ):
        place.begin("work", lambda record: True)
    assert not (tmp_path / "new").exists()
    beat.join()


def test_others_of_a_launch_wait_for_the_end_of_one_that_was_killed_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "DEAD_AFTER", 0.3)
    others = claims.OtherLaunches(tmp_path, "out")
    assert others.leave_it()
    claim = tmp_path / f"{claims.WRITER}.1.json"
    claim.write_text(json.dumps({"machine": "c", "launch": "SLURM_JOB_ID=7"}))
    assert not others.leave_it()
    threading.Event().wait(0.4)
    assert others.leave_it()
    for taken_over in ({"launch": ""}, {}):
        claim.write_text(json.dumps({"machine": "c"} | taken_over))
        assert claims.OtherLaunches(tmp_path, "out").leave_it()


def test_an_error_ends_all_processes_and_is_told(tmp_path: Path) -> None:
    def broken(rank: int) -> None:
        if rank == 2:
            threading.Event().wait(0.1)
            raise ValueError("no such disk")

    ended = job(tmp_path, 3, [6, 1], broken)
    assert ended[2] == "ValueError: no such disk"
    assert ended[0] == ended[1] == "ChildProcessError: process 2 has failed: ValueError: no such disk"


def test_a_process_that_fails_before_the_first_one_begins_is_not_waited_for(tmp_path: Path) -> None:
    def late_or_broken(rank: int) -> None:
        if rank == 1:
            raise ValueError("no such disk")
        threading.Event().wait(0.3)

    assert job(tmp_path, 2, [6, 1], late_or_broken)[0].endswith("process 1 has failed: ValueError: no such disk")


def test_processes_with_other_inputs_are_refused(tmp_path: Path) -> None:
    errors: list[str] = []

    def other() -> None:
        place = Workplace(tmp_path)
        place.rank, place.size = 1, 2
        with pytest.raises(ValueError, match="those of process 1 differ") as caught:
            place.begin("other work", lambda record: True)
        errors.append(str(caught.value))

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    first = Workplace(tmp_path)
    first.rank, first.size = 0, 2
    first.begin("work", lambda record: True)
    thread.join(20)
    assert errors


def claim_of(folder: Path, launch: str) -> Path:
    """Let a process of this machine that runs have claimed a folder, as one of a launch."""
    claim = folder / f"{claims.WRITER}.1.json"
    told = {"host": "b", "machine": this_machine(), "process": os.getppid(), "launch": launch}
    claim.write_text(json.dumps(told))
    return claim


@pytest.mark.parametrize("own", [False, True])
def test_a_refused_process_tells_its_launch_alone(own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves nothing in the finished work of the other one."""
    for module in (workplace, claims):
        monkeypatch.setattr(module, "launch_id", lambda: "MASTER_PORT=29501")
    monkeypatch.setattr(workplace, "TOLD_AGAIN", 0.4)
    claim = claim_of(tmp_path, "MASTER_PORT=29500")
    ended = threading.Timer(0.1, claim_of if own else os.unlink, [tmp_path, "MASTER_PORT=29501"] if own else [claim])
    place = Workplace(tmp_path / "new")
    place.rank, place.size = 1, 2
    with pytest.raises(claims.WrittenByAnother, match="wait for its end"), place.claimed():
        ended.start()
        place.begin("work", lambda record: True)
    assert bool([*tmp_path.glob(f"new/{PROCESSES}/*/failed-*")]) == own == (tmp_path / "new").exists()


def test_a_process_whose_place_another_one_has_taken_ends_after_the_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where two launches have one id; it leaves nothing in the finished work."""
    monkeypatch.setattr(workplace, "DEAD_AFTER", 0.3)
    monkeypatch.setattr(claims, "launch_id", lambda: "MASTER_PORT=29500")
    claim = claim_of(tmp_path, "MASTER_PORT=29500")

    def finish() -> None:
        claim.unlink()
        threading.Event().wait(0.1)
        shutil.rmtree(tmp_path / "new")

    place = Workplace(tmp_path / "new")
    place.rank, place.size = 1, 2
    ended = threading.Timer(0.2, finish)
    ended.start()
    with pytest.raises(ChildProcessError, match="process 1 has waited for a first process that has ended; .*--rdzv-id"):
        place.begin("work", lambda record: True)
    ended.join()
    assert not [*tmp_path.iterdir()]
