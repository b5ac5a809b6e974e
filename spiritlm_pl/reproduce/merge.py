"""Merge the results of folders that machines without a common one have worked in."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from spiritlm_pl.reproduce.folder import check_same_settings
from spiritlm_pl.reproduce.plan import Task
from spiritlm_pl.reproduce.results import MERGED_FROM, RESULTS, Result, done_steps, read_result, result_path
from spiritlm_pl.reproduce.work import CLAIMS
from spiritlm_pl.runtime.claims import take
from spiritlm_pl.runtime.found import lacks
from spiritlm_pl.runtime.provenance import atomic_path


def merge(folder: Path, others: Iterable[str | Path], tasks: Sequence[Task]) -> int:
    """Copy results of other folders that have more steps of the plan than this folder's; return how many were copied.

    A result is copied as a whole, since its steps measure one model. A task that a process works on is left to it.

    Args:
        folder: folder to copy to.
        others: folders of other machines.
        tasks: tasks whose results are copied.

    Raises:
        ValueError: if a folder has no results, or other settings than this folder, or runs of other commands,
            configurations or speech tokenizers only.
    """
    places = [Path(other) for other in others]
    for other in places:
        _check(folder, other, tasks)
    return sum(_copy(folder, other, task) for other in places for task in tasks)


def _check(folder: Path, other: Path, tasks: Sequence[Task]) -> None:
    if not (other / RESULTS).is_dir():
        raise ValueError(f"merge must name folders of this command with {RESULTS}, but {lacks(other)}")
    check_same_settings(folder, other)
    runs = [(read_result(other, task.name), task) for task in tasks if task.condition is not None]
    there = [(result, task) for result, task in runs if result]
    if there and not any(done_steps(result, task.steps) for result, task in there):
        raise ValueError(
            f"merge must name folders with the speech tokenizers of {folder} and with runs of this version, "
            f"but all runs of {other} have others"
        )


def _copy(folder: Path, other: Path, task: Task) -> bool:
    """Copy the result of a task if it is better; return whether it was."""
    theirs = read_result(other, task.name)
    if not _is_better(theirs, folder, task):
        return False
    claim = take(folder / CLAIMS, task.name)
    if claim is None:
        return False
    try:
        if not _is_better(theirs, folder, task):  # finished by another since we looked
            return False
        with atomic_path(result_path(folder, task.name)) as path:
            path.write_text(json.dumps(theirs | {MERGED_FROM: str(other)}) + "\n", encoding="utf-8")
    finally:
        claim.release()
    return True


def _is_better(theirs: Result, folder: Path, task: Task) -> bool:
    ours = read_result(folder, task.name)
    return len(done_steps(theirs, task.steps)) > len(done_steps(ours, task.steps))
