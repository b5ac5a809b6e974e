"""Work that processes share: none waits for ever, whatever their number, order and fate, or what killed ones left."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from spiritlm_pl.data import workplace
from spiritlm_pl.data.workplace import Workplace


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workplace, "POLL_SECONDS", 0.005)
    monkeypatch.setattr(workplace, "TOLD_AGAIN", 1.5)


def job(folder: Path, size: int, stages: list[int], before: Callable[[int], None] = lambda rank: None) -> list[str]:
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
    (tmp_path / "failed.txt").write_text("process 0 has failed: of an earlier job")

    def late(rank: int) -> None:
        if not rank:
            threading.Event().wait(0.3)

    assert job(tmp_path, 3, [4, 1], late) == ["done"] * 3


def test_what_a_killed_job_has_said_is_not_taken_for_this_one(tmp_path: Path) -> None:
    (tmp_path / "processes").mkdir()
    for rank in (1, 2):
        for what in ("begin", "leave"):
            (tmp_path / f"processes/{what}-{rank}").write_text("of before")
    (tmp_path / "build.json").write_text(json.dumps({"identity": "work", "processes": {"1": "of before"}}))
    (tmp_path / "failed.txt").write_text("process 1 has failed")
    assert job(tmp_path, 3, [4, 1]) == ["done"] * 3


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
