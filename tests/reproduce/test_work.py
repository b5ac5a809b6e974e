"""Several processes share the tasks of a folder: each is done once, the dead are replaced, failures are told."""

import json
import multiprocessing
from pathlib import Path

import pytest
from rich.console import Console

from spiritlm_pl.reproduce.plan import Step, Task
from spiritlm_pl.reproduce.results import read_result, result_path
from spiritlm_pl.reproduce.work import CLAIMS, Workers, log_path, machine_options
from spiritlm_pl.runtime.claims import owner, take


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
def test_a_failure_is_told_and_the_others_are_finished(tmp_path: Path) -> None:
    bad = task("bad", command=("no-such-command",))
    tasks = [bad, task("after", "bad"), task("good")]
    console = Console(record=True, quiet=False, width=200, file=(tmp_path / "told").open("w"))
    assert Workers(tmp_path, tasks, 1, console).run() == {"bad"}
    assert read_result(tmp_path, "good") and not read_result(tmp_path, "after") and not read_result(tmp_path, "bad")
    assert "bad: failed" in console.export_text() and "command must be one of" in console.export_text()
    assert not list((tmp_path / CLAIMS).glob("*.json"))


def test_work_of_others_is_left_to_them(tmp_path: Path) -> None:
    workers = Workers(tmp_path, TASKS, 2, Console(quiet=True))
    assert workers.wanted == [one.name for one in TASKS]
    assert take(tmp_path / CLAIMS, "shared") is not None
    workers._start_ready(multiprocessing.get_context("forkserver"))
    assert not workers.running and len(workers._open()) == 4  # it waits for the shared one


@pytest.mark.parametrize("native", [True, False])
def test_precision_is_no_part_of_a_key(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritlm_pl.reproduce.work.cpu_has_bfloat16", lambda: native)
    assert machine_options(("fit",)) == ([] if native else ["--trainer.precision=32-true"])
    assert machine_options(("evaluate",)) == []
