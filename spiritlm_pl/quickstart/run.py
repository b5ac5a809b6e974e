"""`spiritlm quickstart`: the whole path in miniature, with the commands and configurations of full training."""

import os
import shutil
import sys
import time

from rich.console import Console

from spiritlm_pl.quickstart.changes import changes_line, check_own
from spiritlm_pl.quickstart.plan import Variant, check_packages, quickstart_stages, variables
from spiritlm_pl.quickstart.runner import PRELOAD, Runner
from spiritlm_pl.quickstart.size import check_size, check_units, too_small_line, warning_line
from spiritlm_pl.quickstart.stage import LOGS, ROOT
from spiritlm_pl.runtime.claims import only_writer
from spiritlm_pl.runtime.devices import limited_cores, num_cores
from spiritlm_pl.runtime.parallel import start_server

DEFAULT_STORIES = 2500
TO_READ = 5.0  # seconds at a terminal before results are replaced


def quickstart(
    variant: Variant = "base",
    source: str = "auto",
    budget: float = 1.0,
    stories: int = DEFAULT_STORIES,
    cores: int | None = None,
) -> None:
    """Fetch real speech, train every stage in miniature, measure and show what was learnt.

    Everything is written to ./quickstart. Run it again after an interrupt: finished stages are kept, and both variants
    share their common stages. With another source, budget or number of stories, stages that depend on it are made
    again; a line at the beginning names them. So are those whose results are gone. A result that another command has
    replaced is left alone, and the command refused.

    Examples:
        spiritlm quickstart
        spiritlm quickstart --budget 0.3 --source synthetic
        spiritlm quickstart --variant expressive

    Args:
        variant: base (text and units), or expressive (also pitch and style, on acted dialogue as well).
        source: real speech: "apt" fetches it with apt-get, a path names a folder with the .deb files (those of the
            prompts; acted speech is synthetic where its own is not beside them), "synthetic" takes synthetic speech
            instead, "auto" is apt if there is apt-get.
        budget: factor that all numbers of training steps are multiplied by; 0.3 is faster and learns less. With far
            fewer steps or stories (--budget 0.05 --stories 150) the units may collapse: few of them, or one, stand for
            everything. Then figures and samples mean little, which the command says once there are units, and the
            report; with one unit no story can be cut, and the command ends before more is trained.
        stories: number of spoken stories, for training and test; at least 30.
        cores: number of processor cores to use; all if left out.

    Raises:
        ValueError: if an argument is out of range, another command has replaced a result, another process writes to
            ./quickstart, or all sounds have become one unit.
        OSError: if a folder of packages lacks one that is to be read.
    """
    check_size(budget, stories)
    if cores is not None and cores < 1:
        raise ValueError(f"cores must be at least 1, but is {cores} instead")
    with only_writer(ROOT, str(ROOT)), limited_cores(cores):
        _quickstart(variant, source, budget, stories)


def _quickstart(variant: Variant, source: str, budget: float, stories: int) -> None:
    console = Console()
    start = time.monotonic()
    start_server(*PRELOAD)  # which imports while the stages are planned, and the first one runs
    stages = quickstart_stages(variant, source, budget, stories)
    runner = Runner(stages, num_cores(), lambda stage: check_units(variant, stage, budget, stories))
    check_own(runner.stages, runner.keys)
    check_packages(stage for stage in stages if runner.state[stage.name] == "waiting")
    console.print(f"Writing to ./{ROOT}; logs of every stage in {LOGS}. Ctrl-C stops, the same command goes on.")
    if budget != 1 or stories != DEFAULT_STORIES:
        console.print(
            f"Minutes of what is waiting are those of the whole size, --budget=1 --stories={DEFAULT_STORIES}."
        )
    if told := changes_line(variant, runner.stages, runner.keys):
        console.print(told, markup=False, highlight=False, soft_wrap=True)
        if console.is_terminal:
            console.print(f"Starting in {TO_READ:.0f} s; Ctrl-C before that keeps them.")
            _wait(TO_READ)
    if told := warning_line(budget, stories):
        console.print(told, markup=False, soft_wrap=True)
    earlier = sum(runner.seconds.values()) / 60
    try:
        runner.run(console)
    except ChildProcessError as error:
        told = too_small_line(variant, runner.failed, budget, stories)
        raise ChildProcessError(f"{error}\n{told}" if told else str(error)) from None
    from spiritlm_pl.quickstart.expressive_report import write_expressive_report  # once the first stages do not wait
    from spiritlm_pl.quickstart.report import collapse_line, ending_line, pictures_of, rich_table, write_report

    report = f"{ROOT}/report" if variant == "base" else f"{ROOT}/report_expressive"
    rows = write_report(report) if variant == "base" else write_expressive_report(report)
    console.print()
    console.print(rich_table(rows))
    drawn = [str(picture) for picture in pictures_of(report, variant) if picture.is_file()]
    minutes = (time.monotonic() - start) / 60
    kept = f", besides {earlier:.1f} of stages kept from earlier runs" if earlier else ""
    console.print(
        f"Done in {minutes:.1f} minutes{kept}. The table and its pictures: {', '.join([f'{report}.md', *drawn])}"
    )
    if told := ending_line("endings" if variant == "base" else "endings_expressive"):
        console.print(told)
    if told := collapse_line(variant):
        console.print(told, soft_wrap=True)
    programs = "" if shutil.which("spiritlm") else f"{os.path.relpath(sys.prefix)}/bin/"
    console.print(what_next(variant, programs), markup=False, soft_wrap=True)


def _wait(seconds: float) -> None:
    try:
        time.sleep(seconds)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing was replaced") from None


def what_next(variant: Variant, programs: str) -> str:
    """Return a text on what to look at, hear and try.

    Args:
        variant: variant that was trained: base or expressive.
        programs: prefix of the commands in the text.
    """
    folders = variables(variant)
    model, samples = folders["model"], folders["samples"]
    sounds = f"{samples}/resynthesis/" if variant == "base" else f"{samples}/"
    option = "" if variant == "base" else f" --model {model}"
    speech = f"--output speech --speaker {folders['voice']}{option}"
    return (
        f"\nLook:  {programs}mlflow ui   (losses, samples and pictures of every stage)"
        f"\nHear:  {sounds}   (recordings beside their resynthesis)"
        f"\nTry:   {programs}spiritlm generate --text 'one morning the fox reached the river' {speech}"
        f"\n       {programs}spiritlm generate --speech {folders['beginnings']}/beginning_1.wav --output text{option}"
        f"\nNext:  the same stages at full size, README.md: from the quickstart to 7B (models here: {model})"
    )
