"""What is too small for a quickstart is told with the name of its option: before it begins, or when a stage fails."""

import inspect
from contextlib import nullcontext
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from spiritlm_pl.cli.prepare.synthetic import stories as prepare_stories
from spiritlm_pl.corpora.splitting import assign_splits
from spiritlm_pl.data.corpus_store import finish_folder, write_part
from spiritlm_pl.data.utterances import UnitUtterance
from spiritlm_pl.quickstart.plan import Variant, quickstart_stages
from spiritlm_pl.quickstart.run import quickstart
from spiritlm_pl.quickstart.runner import Runner
from spiritlm_pl.quickstart.size import LEAST_STORIES, check_units
from spiritlm_pl.streams import SpeechLayout


def test_two_stories_are_kept_for_validation() -> None:
    fractions = inspect.signature(prepare_stories).parameters
    validation, test = (fractions[f"{name}_fraction"].default for name in ("validation", "test"))
    kept = [[*assign_splits(range(count), validation, test, 0).values()].count("validation") for count in range(1, 200)]
    assert [count >= 2 for count in kept] == [count >= LEAST_STORIES for count in range(1, 200)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"stories": 29},
            "^stories must be at least 30, so that two of them are kept for validation, but is 29 instead",
        ),
        ({"budget": 0.0}, "^budget must be above 0 and at most .*, but is 0 instead"),
    ],
)
@pytest.mark.parametrize("variant", ["base", "expressive"])
def test_what_is_too_small_is_refused_before_anything_is_written(
    variant: Variant, options: dict[str, float], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        quickstart(variant, "synthetic", **options)  # type: ignore[arg-type]
    assert not [*tmp_path.iterdir()]


def units_of(folder: Path, used: int) -> None:
    """Write the units of held-out stories, of which so many of 100 occur."""
    units = np.arange(used, dtype=np.uint16)
    starts = np.arange(used, dtype=np.uint32)
    story = UnitUtterance(
        id="a", text="a", duration=used / 25, words=(), units=units, unit_starts=starts, num_frames=used
    )
    write_part(folder / "validation", 0, [story], "test")
    layout = SpeechLayout.spirit_lm(num_units=100, frame_rate=25.0)
    finish_folder(folder / "validation", ["test"], layout=layout, provenance={})


@pytest.mark.parametrize(("variant", "units"), [("base", "units"), ("expressive", "units_expressive")])
def test_a_stage_that_fails_over_collapsed_units_says_so(
    variant: Variant, units: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    lm = "lm" if variant == "base" else "lm_expressive"

    def told(name: str = lm) -> str:
        def failing(runner: Runner, console: Console) -> None:
            (runner.failed,) = [stage for stage in runner.stages if stage.name == name]
            raise ChildProcessError(f"stage {name!r} failed (exit 2)")

        monkeypatch.setattr(Runner, "run", failing)
        with pytest.raises(ChildProcessError) as caught:
            quickstart(variant, "synthetic", 0.02, 100)
        return str(caught.value)

    assert told() == f"stage {lm!r} failed (exit 2)"  # there are no units yet
    units_of(tmp_path / "quickstart" / units / "stories", 1)
    assert told() == (
        f"stage {lm!r} failed (exit 2)\n"
        "--budget and --stories must be large enough for units that tell sounds apart, but with --budget 0.02 "
        "--stories 100 only 1 of 100 units occur in the stories kept for validation: give more of either"
    )
    for earlier in ("prompts", "mfcc", units):  # the units are of another size
        assert told(earlier) == f"stage {earlier!r} failed (exit 2)"
    units_of(tmp_path / "quickstart" / units / "stories", 60)
    assert told() == f"stage {lm!r} failed (exit 2)"
    (tmp_path / "quickstart" / units / "stories" / "validation" / "manifest.json").write_text('{"parts": 1}')
    assert told() == f"stage {lm!r} failed (exit 2)"


@pytest.mark.parametrize(("used", "stopped"), [(1, True), (9, False), (60, None)])
@pytest.mark.parametrize(("variant", "units"), [("base", "units"), ("expressive", "units_expressive")])
def test_units_that_have_collapsed_are_told_before_more_is_trained(
    variant: Variant, units: str, used: int, stopped: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one unit the command ends, whether the units were made now or by an earlier run; with more it goes on."""
    monkeypatch.chdir(tmp_path)
    place = f"quickstart/{units}/stories"
    units_of(tmp_path / place, used)
    stages = quickstart_stages(variant, "synthetic", 0.05, 150)
    (maker,) = [replace(stage, needs=()) for stage in stages if place in stage.makes]
    line = (
        "--budget and --stories must be large enough for units that tell sounds apart, but with --budget 0.05 "
        f"--stories 150 only {used} of 100 units occur in the stories kept for validation: give more of either"
    )
    for kept in (True, False):
        shown = StringIO()
        runner = Runner([maker], 2, lambda stage: check_units(variant, stage, 0.05, 150))
        if kept:
            runner.state[maker.name] = "kept"
        else:
            runner.processes[maker.name] = FinishedProcess()  # type: ignore[assignment]
            runner.started[maker.name], runner.state[maker.name] = 0.0, "running"
        with pytest.raises(ValueError, match=f"^{line}$") if stopped else nullcontext():
            runner.run(Console(file=shown, width=80))
        assert (line in shown.getvalue()) == (stopped is False)
    assert check_units(variant, stages[0], 0.05, 150) == ""  # which makes no units


class FinishedProcess:
    """Stands for the process of a stage that has ended well."""

    exitcode = 0

    def is_alive(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("budget", "stories", "warned"), [(0.02, 60, True), (0.02, 100, True), (0.02, 101, False), (0.03, 60, False)]
)
def test_sizes_that_are_known_to_collapse_are_warned_of_before_anything_is_trained(
    budget: float,
    stories: int,
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    def stop(runner: Runner, console: Console) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        quickstart("base", "synthetic", budget, stories)
    line = f"Warning: --budget {budget:g} and --stories {stories} may be too small: with 0.02 and 100"
    assert (line in capsys.readouterr().out) == warned
