"""Several processes share the tasks of a folder: each is done once, the dead are replaced, failures are told."""

import errno
import io
import json
import multiprocessing
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from spiritlm_pl.reproduce.plan import Step, Task
from spiritlm_pl.reproduce.results import add_step, is_complete, read_result, result_path
from spiritlm_pl.reproduce.work import CLAIMS, Workers, log_path, machine_options, perform
from spiritlm_pl.runtime.claims import Claim, owner, take


def task(
    name: str, *needs: str, command: tuple[str, ...] = ("benchmark", "--help"), condition: str | None = "c"
) -> Task:
    """Make a task with a command that is quickly done; what it makes is the log, which is always there."""
    step = Step("only", command, {}, f"key of {name}")
    made = f"logs/{name}.log"
    return Task(name=name, title=name, steps=(step,), needs=needs, makes=made, condition=condition, seed=0)


TASKS = (task("shared", condition=None), *(task(f"run-{number}", "shared") for number in range(3)))


def work(folder: Path) -> set[str]:
    return Workers(folder, TASKS, 2, Console(quiet=True)).run()


def commands_run(folder: Path, name: str) -> int:
    return log_path(folder, name).read_text().count("$ spiritlm")


@pytest.mark.slow
@pytest.mark.usefixtures("warm_processes")
def test_two_processes_do_each_task_once_and_again_nothing(tmp_path: Path) -> None:
    dead = take(tmp_path / CLAIMS, "run-1")  # of a process that has ended
    assert dead is not None
    context = multiprocessing.get_context("spawn")
    ended = context.Process(target=int)
    ended.start()
    ended.join()
    dead.path.write_text(json.dumps(owner(dead.path) | {"process": ended.pid}))
    processes = [context.Process(target=work, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert [commands_run(tmp_path, one.name) for one in TASKS] == [1, 1, 1, 1]
    assert not list((tmp_path / CLAIMS).glob("*.json"))
    assert Workers(tmp_path, TASKS, 2, Console(quiet=True)).wanted == []
    result_path(tmp_path, "run-2").unlink()
    log_path(tmp_path, "shared").unlink()  # what it makes: only its result is here, as after a merge
    assert Workers(tmp_path, TASKS, 2, Console(quiet=True)).wanted == ["shared", "run-2"]


@pytest.mark.slow
@pytest.mark.usefixtures("warm_processes")
def test_a_failure_is_told_and_the_others_are_finished(tmp_path: Path) -> None:
    bad = task("bad", command=("no-such-command",))
    tasks = [bad, task("after", "bad"), task("good")]
    workers = Workers(tmp_path, tasks, 1, Console(width=200, file=io.StringIO()))
    assert workers.run() == {"bad"}
    assert read_result(tmp_path, "good") and not read_result(tmp_path, "after") and not read_result(tmp_path, "bad")
    text = " ".join(told(workers).split())
    assert "bad: failed" in text and "command must be one of" in text
    assert not list((tmp_path / CLAIMS).glob("*.json"))


def test_work_of_others_is_left_to_them(tmp_path: Path) -> None:
    workers = Workers(tmp_path, TASKS, 2, Console(quiet=True))
    assert workers.wanted == [one.name for one in TASKS]
    assert take(tmp_path / CLAIMS, "shared") is not None
    workers._start_ready(multiprocessing.get_context("forkserver"))
    assert not workers.running and len(workers._open()) == 4  # it waits for the shared one


class Process:
    """What `Workers` knows of a process that performs a task."""

    def __init__(self, exitcode: int | None = None) -> None:
        self.exitcode = exitcode

    def is_alive(self) -> bool:
        return self.exitcode is None

    def terminate(self) -> None:
        self.exitcode = -15


def running(folder: Path, name: str, process: Process) -> tuple[Workers, Claim]:
    """Return workers that are at a task, and their claim."""
    workers = Workers(folder, TASKS, 1, Console(width=200, file=io.StringIO()))
    claim = take(folder / CLAIMS, name)
    assert claim is not None
    workers.running[name] = (process, claim, time.monotonic())  # type: ignore[assignment]
    return workers, claim


def take_over(claim: Claim) -> None:
    """Let another machine take a claim over."""
    claim.path.with_name(claim.path.name.replace(".1.", ".2.")).write_text(claim.path.read_text())


def beat_until(workers: Workers, reached: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritlm_pl.reproduce.work.BEAT_EVERY", 0.01)
    stop = threading.Event()
    thread = threading.Thread(target=workers._beat, args=(stop,), daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while not reached() and time.monotonic() < end:
        time.sleep(0.01)
    assert reached() and thread.is_alive()
    stop.set()
    thread.join()


def test_heartbeats_go_on_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process()
    workers, claim = running(tmp_path, "run-0", process)
    beats, touch = [], os.utime

    def once_stale(path: Path) -> None:
        beats.append(path)
        if len(beats) == 1:
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        touch(path)

    monkeypatch.setattr(os, "utime", once_stale)
    beat_until(workers, lambda: len(beats) > 2, monkeypatch)
    assert process.is_alive()
    take_over(claim)
    beat_until(workers, lambda: not process.is_alive(), monkeypatch)


def told(workers: Workers) -> str:
    found: Any = workers.console.file
    return str(found.getvalue())


def test_what_another_took_over_has_not_failed(tmp_path: Path) -> None:
    workers, claim = running(tmp_path, "run-0", Process(exitcode=-15))
    take_over(claim)
    workers._collect()
    assert not workers.failed and "run-0" in [one.name for one in workers._open()]
    assert "given up here" in told(workers) and not workers.running


def test_what_failed_here_and_another_did_has_not_failed(tmp_path: Path) -> None:
    workers, _ = running(tmp_path, "shared", Process(exitcode=1))
    workers._collect()
    assert workers.failed == {"shared"} and not workers._open()  # the runs need it
    assert "failed (exit 1); it ended before it had a log" in told(workers)
    log_path(tmp_path, "shared").parent.mkdir()
    log_path(tmp_path, "shared").write_text("made by another")
    add_step(tmp_path, TASKS[0], TASKS[0].steps[0], 1.0, ())
    workers._look()
    assert not workers.failed and len(workers._open()) == 3


def test_the_end_of_a_log_is_told(tmp_path: Path) -> None:
    log_path(tmp_path, "shared").parent.mkdir()
    log_path(tmp_path, "shared").write_text("".join(f"line {number}\n" for number in range(20)))
    workers, _ = running(tmp_path, "shared", Process(exitcode=1))
    workers._collect()
    assert "line 12\n" in told(workers) and "line 19\n" in told(workers) and "line 11\n" not in told(workers)


def perform_here(folder: Path, one: Task, claim: Claim, monkeypatch: pytest.MonkeyPatch, during: Any) -> None:
    """Perform a task in this process, with something else in place of its commands."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    monkeypatch.setattr("spiritlm_pl.cli.main.run", during)
    perform(str(folder), one, 1, str(claim.path))


def test_nothing_is_written_once_the_claim_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = take(tmp_path / CLAIMS, "run-0")
    assert claim is not None
    with pytest.raises(SystemExit, match="claim on this task is lost"):
        perform_here(tmp_path, TASKS[1], claim, monkeypatch, lambda _: take_over(claim))
    assert not read_result(tmp_path, "run-0")
    held = Claim(claim.path.with_name("run-0.2.json"))
    perform_here(tmp_path, TASKS[1], held, monkeypatch, lambda _: None)
    assert read_result(tmp_path, "run-0")


def test_work_that_is_killed_while_done_anew_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = replace(TASKS[0], makes="units")
    add_step(tmp_path, one, one.steps[0], 1.0, ())  # its folder was removed

    def killed(_: list[str]) -> None:
        (tmp_path / one.makes).mkdir()  # as soon as it is begun
        raise SystemExit("killed")

    claim = take(tmp_path / CLAIMS, one.name)
    assert claim is not None
    with pytest.raises(SystemExit, match="killed"):
        perform_here(tmp_path, one, claim, monkeypatch, killed)
    workers = Workers(tmp_path, [one, *TASKS[1:]], 1, Console(quiet=True))
    assert one.name in workers.wanted and not workers._is_here(one)


def test_steps_that_are_done_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = replace(TASKS[1], steps=(TASKS[1].steps[0], Step("second", ("b",), {}, "another key")))
    add_step(tmp_path, both, both.steps[0], 1.0, ())
    (tmp_path / both.makes).parent.mkdir()
    (tmp_path / both.makes).touch()
    claim = take(tmp_path / CLAIMS, both.name)
    assert claim is not None
    commands: list[list[str]] = []
    perform_here(tmp_path, both, claim, monkeypatch, commands.append)
    assert commands == [["b"]] and is_complete(read_result(tmp_path, both.name), both)


@pytest.mark.parametrize("native", [True, False])
def test_precision_is_no_part_of_a_key(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritlm_pl.reproduce.work.cpu_has_bfloat16", lambda: native)
    assert machine_options(("fit",)) == ([] if native else ["--trainer.precision=32-true"])
    assert machine_options(("evaluate",)) == []
