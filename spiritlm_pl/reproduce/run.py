"""`spiritlm reproduce`: the paper's findings in miniature, with several seeds."""

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from spiritlm_pl.reproduce.findings import findings_file
from spiritlm_pl.reproduce.folder import SETTINGS_FILE, TOKENIZERS, copy_tokenizer, has_tokenizer, shared_settings
from spiritlm_pl.reproduce.merge import merge as merge_results
from spiritlm_pl.reproduce.plan import all_tasks, needed_tokenizers, plan_file
from spiritlm_pl.reproduce.report import build_report, is_run, not_asked, not_counted, not_run, short_rows, write_report
from spiritlm_pl.reproduce.results import RESULTS, num_seeds
from spiritlm_pl.reproduce.work import LOGS, Workers
from spiritlm_pl.runtime.checksums import values_of
from spiritlm_pl.runtime.devices import limited_cores, num_cores
from spiritlm_pl.runtime.found import lacks
from spiritlm_pl.runtime.limits import check_budget

DEFAULTS = (2000, 1.0)  # stories, budget
MAIN_TOKENIZER = "hubert"  # without which there is no run


def reproduce(
    out: str,
    quickstart: str | None = None,
    seeds: int = 5,
    only: list[int] | None = None,
    stories: int | None = None,
    budget: float | None = None,
    jobs: int | None = None,
    merge: list[str] | None = None,
    report_only: bool = False,
) -> None:
    """Train the paper's ablations in miniature with several seeds, and say which of its findings are seen.

    Run it again after an interrupt: finished runs are kept. Run it at the same time in other terminals, or on other
    machines that see the same folder: each takes runs that nobody has. The report always tells all that the folder has
    results of, also where fewer findings or seeds are asked for.

    Examples:
        spiritlm reproduce findings --quickstart quickstart
        spiritlm reproduce findings --only '[1, 7]'
        spiritlm reproduce findings --merge '[from_machine_a, from_machine_b]'
        spiritlm reproduce findings --report-only true

    Args:
        out: folder for corpora, runs, results and the report.
        quickstart: folder of a finished quickstart, whose speech tokenizers are copied to a new `out`.
        seeds: number of runs of each condition.
        only: numbers of the findings; all if left out. docs/findings-in-small.md lists them.
        stories: number of stories, for training and test; 2000 in a new folder.
        budget: factor that all numbers of training steps are multiplied by; 1 in a new folder.
        jobs: number of cores to compute on; all if left out.
        merge: folders of other machines whose results for these findings and seeds are copied here first.
        report_only: whether to write the report on what is there, and to run nothing.

    Raises:
        ValueError: if an argument is out of range, or contradicts what the folder holds.
        ChildProcessError: if runs have failed; the others are finished first.
    """
    known = findings_file()["findings"]
    chosen = sorted(known) if only is None else list(only)
    _check(seeds, stories, budget, jobs)
    if not chosen or not set(chosen) <= set(known):
        raise ValueError(f"only must be numbers of findings ({', '.join(map(str, known))}), but is {only}")
    folder, console, start = Path(out), Console(), time.monotonic()
    if report_only and not (merge or quickstart or (folder / SETTINGS_FILE).is_file()):
        raise ValueError(f"out must be a folder that this command has made, with {SETTINGS_FILE}, but {lacks(out)}")
    if quickstart is not None:
        for name in needed_tokenizers(_conditions(chosen)):
            if has_tokenizer(Path(quickstart), name):
                copy_tokenizer(folder, Path(quickstart), name)
    for number in list(chosen):
        lacking = _lacking(folder, number)
        if lacking and (only is not None or MAIN_TOKENIZER in lacking):
            where = " and ".join(plan_file()["tokenizers"][name] for name in lacking)
            given = "is missing" if quickstart is None else f"is {quickstart}"
            raise ValueError(f"quickstart must be the folder of a quickstart that has {where}, but {given}")
        if lacking:
            chosen.remove(number)
            searched = folder / TOKENIZERS if quickstart is None else quickstart
            console.print(f"Finding {number} is left out: there is no tokenizer {', '.join(lacking)} in {searched}.")
    conditions = _conditions(chosen)
    tokenizers = needed_tokenizers(conditions)
    settings = shared_settings(folder, tokenizers, stories, budget, DEFAULTS)
    tasks = all_tasks(settings, conditions, seeds)
    if merge:
        console.print(f"{merge_results(folder, merge, tasks)} results merged.")
    failed: set[str] = set()
    if not report_only:
        with limited_cores(jobs):
            workers = Workers(folder, tasks, num_cores(), console)
            _leave_out(workers, chosen, only is not None, console)
            console.print(
                f"{len(workers.wanted)} of {len(tasks)} tasks are to be done in {folder}; logs in {folder / LOGS}."
            )
            console.print("Ctrl-C stops, the same command goes on.")
            failed = workers.run()
    others = [number for number in known if number not in chosen and not _lacking(folder, number)]
    conditions = _conditions([*chosen, *others])
    settings = shared_settings(folder, needed_tokenizers(conditions), None, None, DEFAULTS)
    tasks = all_tasks(settings, conditions, max(seeds, num_seeds(folder)))
    with values_of(folder / RESULTS):
        report = build_report(folder, tasks, settings, chosen, others)
    written = write_report(folder, report)
    console.print(_table({number: one for number, one in report["findings"].items() if one["asked"] and is_run(one)}))
    for line in (*not_asked(report["findings"]), *not_run(report["findings"]), *not_counted(report)):
        console.print(line, markup=False)
    minutes = (time.monotonic() - start) / 60
    console.print(f"Done in {minutes:.1f} minutes: {', '.join(map(str, written))}", soft_wrap=True)
    if failed:
        raise ChildProcessError(f"{len(failed)} tasks failed ({', '.join(sorted(failed))}); see {folder / LOGS}")


def _leave_out(workers: Workers, chosen: list[int], asked_for: bool, console: Console) -> None:
    """Leave out runs whose programs are not installed, unless the user has asked for their findings.

    Raises:
        ValueError: if a finding that was asked for cannot be run.
    """
    for program, names in workers.leave_out_unable().items():
        conditions = {workers.tasks[name].condition for name in names}
        numbers = [number for number in chosen if conditions.intersection(_conditions([number]))]
        runs = " and ".join(map(str, numbers))
        told = f"{program} is not installed, without which there are no runs of finding {runs}"
        if asked_for:
            raise ValueError(f"only must be findings that can be run here, but {told}")
        console.print(f"{len(names)} tasks are left out: {told}.")


def _lacking(folder: Path, number: int) -> list[str]:
    """Return the names of the speech tokenizers that a finding needs and a folder does not have."""
    needed = needed_tokenizers(_conditions([number]))
    return [name for name in needed if not (folder / TOKENIZERS / name).is_dir()]


def _conditions(chosen: list[int]) -> list[str]:
    """Return the names of the conditions of some findings, each once."""
    return list(dict.fromkeys(name for one in chosen for name in findings_file()["findings"][one]["conditions"]))


def _check(seeds: int, stories: int | None, budget: float | None, jobs: int | None) -> None:
    for name, value, least in (("seeds", seeds, 1), ("stories", stories, 20), ("jobs", jobs, 1)):
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, but is {value} instead")
    if budget is not None:
        check_budget(budget)


def _table(found: dict[str, dict[str, Any]]) -> Table:
    """Return what decides on each finding, or else its figures, as a table for a terminal."""
    table = Table(title="Findings in small (held-out data)", title_justify="left")
    for name in ("finding", "statement", "difference in points, or exponent", "verdict"):
        table.add_column(name)
    for number, one in found.items():
        for row in short_rows(one):
            table.add_row(number, *row)
    return table
