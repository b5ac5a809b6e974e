"""Which stages start beside which, where one waits for cores."""

import os
import signal
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console
from rich.live import Live

from spiritlm_pl.quickstart.plan import Variant, quickstart_stages
from spiritlm_pl.quickstart.runner import Runner
from spiritlm_pl.quickstart.stage import Stage

Begin = Callable[[Runner], list[str]]


def stage(name: str, minutes: float, threads: int = 1, needs: tuple[str, ...] = ()) -> Stage:
    return Stage(name=name, title=name, commands=(), threads=threads, minutes=minutes, needs=needs)


def running(runner: Runner, *names: str) -> None:
    """Let stages run since a minute, as the clock of `begin` says."""
    for name in names:
        runner.state[name], runner.started[name] = "running", 0.0
        runner.processes[name] = cast(Any, None)


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Names of the stages that a runner starts now."""
    monkeypatch.setattr("spiritlm_pl.quickstart.runner.time.monotonic", lambda: 60.0)

    class Context:
        def Process(self, name: str, **given: object) -> Any:  # noqa: N802  as in multiprocessing
            self.names = [*getattr(self, "names", []), name]
            return self

        def start(self) -> None:
            pass

    def begin(runner: Runner) -> list[str]:
        context, console = Context(), Console(file=StringIO())
        runner._start_ready(cast(Any, context), console, Live(console=console))
        return getattr(context, "names", [])

    return begin


def test_a_stage_that_waits_for_all_cores_is_not_held_up_by_longer_ones(begin: Begin) -> None:
    stages = [stage("first", 3), stage("whole", 9, 2), stage("longer", 2.5), stage("shorter", 1.5)]
    runner = Runner([*stages, stage("later", 1, needs=("whole",))], cores=2)
    running(runner, "first")  # for one of its three minutes
    assert begin(runner) == ["shorter"]
    runner.processes.clear()
    assert begin(runner) == ["whole"]


def test_it_waits_for_the_first_cores_that_are_enough(begin: Begin) -> None:
    stages = [stage("long", 11), stage("short", 1.5), stage("whole", 10, 2), stage("other", 9), stage("tiny", 0.4)]
    runner = Runner(stages, cores=3)
    running(runner, "long", "short")
    assert begin(runner) == ["tiny"]


def test_estimates_follow_what_was_measured(begin: Begin) -> None:
    """On a machine of half the speed, a stage of an estimated minute takes two, beside one that has three more."""
    stages = [stage("done", 1), stage("first", 2), stage("whole", 9, 2), stage("longer", 1.6), stage("shorter", 1.4)]
    runner = Runner(stages, cores=2)
    runner.state["done"], runner.seconds["done"] = "done", 120.0
    running(runner, "first")
    assert begin(runner) == ["shorter"]


def test_a_late_stage_does_not_stop_all_others(begin: Begin) -> None:
    runner = Runner([stage("late", 0.5), stage("whole", 9, 2), stage("long", 0.6), stage("short", 0.4)], cores=2)
    running(runner, "late")  # half a minute longer than thought
    assert begin(runner) == ["short"]


def test_what_the_longest_chain_waits_for_begins_first(begin: Begin) -> None:
    stages = [stage("measure", 0.2), stage("long", 3), stage("train", 2), stage("hear", 1.5, needs=("train",))]
    runner = Runner(stages, cores=2)
    running(runner)
    runner.started["earlier"] = 0.0
    assert begin(runner) == ["train", "long"]


@pytest.mark.parametrize("variant", ["base", "expressive"])
def test_vocoders_and_language_models_begin_before_anything_is_measured(begin: Begin, variant: Variant) -> None:
    runner = Runner(quickstart_stages(variant, "synthetic", 1.0, 2500), cores=2)
    trained = [one.name for one in runner.stages if one.name.startswith(("vocoder", "lm", "measure"))]
    ready = {name for one in runner.stages if one.name in trained for name in one.needs} - set(trained)
    runner.state |= dict.fromkeys([one.name for one in runner.stages if one.name not in trained], "kept")
    assert ready and all(runner.state[name] == "kept" for name in ready)
    runner.started["earlier"] = 0.0
    first = begin(runner)
    assert len(first) == 2 and not any(name.startswith("measure") for name in first)


def test_the_first_stage_does_not_wait_for_the_server(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server imports for seconds what later stages need; the first one starts a process of its own beside it."""
    asked: list[str] = []

    class Own:
        def Process(self, name: str, **given: object) -> Any:  # noqa: N802  as in multiprocessing
            asked.append(name)
            return self

        def start(self) -> None:
            pass

    monkeypatch.setattr("spiritlm_pl.quickstart.runner.multiprocessing.get_context", {"spawn": Own()}.__getitem__)
    assert begin(Runner([stage("first", 3), stage("second", 2)], cores=2)) == ["second"]
    assert asked == ["first"]


def test_an_interrupt_while_the_first_stage_starts_leaves_it_to_be_ended(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own:
        def Process(self, **given: object) -> Any:  # noqa: N802  as in multiprocessing
            return self

        def start(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("spiritlm_pl.quickstart.runner.multiprocessing.get_context", {"spawn": Own()}.__getitem__)
    runner = Runner([stage("first", 3)], cores=2)
    with pytest.raises(KeyboardInterrupt):
        begin(runner)
    assert [*runner.processes] == ["first"] and runner.state["first"] == "running"


def test_a_stage_that_was_killed_before_it_wrote_a_log_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    class Killed:
        exitcode = -9

        def is_alive(self) -> bool:
            return False

    runner, console = Runner([stage("first", 3)], cores=2), Console(file=StringIO())
    running(runner, "first")
    runner.processes["first"] = cast(Any, Killed())
    with pytest.raises(ChildProcessError, match=r"^stage 'first' failed \(exit -9\); before it wrote a log$"):
        runner._collect(console, Live(console=console))
