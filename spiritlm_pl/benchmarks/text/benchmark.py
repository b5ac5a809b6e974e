"""Benchmarks of tasks of lm-eval, in the layout of results that all benchmarks have."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spiritlm_pl.benchmarks.averages.ratios import ratios
from spiritlm_pl.benchmarks.contract import Info, Line, RunSettings, Scorer, check_options
from spiritlm_pl.benchmarks.items import AnswerLine, Figure, Reading
from spiritlm_pl.benchmarks.text.items import TaskItem
from spiritlm_pl.benchmarks.text.scoring import TaskScorer
from spiritlm_pl.benchmarks.text.tasks import check_task, items_of, load_tasks, metrics_of, set_shots

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM

PERCENT = 100.0


@dataclass(frozen=True)
class TaskBenchmark:
    """Benchmark of a task, or of a group of tasks, of lm-eval.

    Args:
        info: facts about the benchmark.
        task: name of the task or group; None if the option `tasks` names it.
        shots: number of solved examples unless the option `shots` gives another; None for that of the task's file.
    """

    info: Info
    task: str | None = None
    shots: int | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options."""
        return ("shots",) if self.task else ("tasks", "shots")

    def parts(self, name: str, options: Mapping[str, Any]) -> "dict[str, tuple[TaskBenchmark, dict[str, Any]]]":
        """Return a benchmark with options for each of several tasks, by name, so that each has a summary of its own.

        Args:
            name: name of this benchmark.
            options: options, with `tasks` as a list or as names with commas between them.

        Raises:
            ValueError: if no task is named.
        """
        if self.task is not None:
            return {name: (self, dict(options))}
        check_options(options, self.options)
        rest = {key: value for key, value in options.items() if key != "tasks"}
        names = task_names(options.get("tasks"))
        return {f"{name}_{task}": (self._of(task), rest) for task in names}

    def _of(self, task: str) -> "TaskBenchmark":
        return replace(self, task=task, info=replace(self.info, title=f"{task} of lm-eval"))

    def read(self, folder: Path, options: Mapping[str, Any]) -> Reading:
        """Read the documents of the tasks, with prompts that lm-eval makes of them.

        Raises:
            ValueError: if an option is wrong, a task is not known or cannot be measured here, or its data is missing.
        """
        check_options(options, self.options)
        names = [self.task] if self.task else task_names(options.get("tasks"))
        shots = options.get("shots", self.shots)
        if shots is not None and (not isinstance(shots, int) or isinstance(shots, bool) or shots < 0):
            raise ValueError(f"shots must be a number from 0 on, but is {shots!r}")
        with quiet():
            tasks, groups = load_tasks(names, folder)
            items: list[TaskItem] = []
            notes = []
            for name, task in tasks.items():
                check_task(name, task)
                number = set_shots(task, shots)
                if shots not in (None, number):
                    notes.append(f"{name} says itself that it has {number} solved examples, so it has no others")
                told, left_out = metrics_of(task)
                if self.info.published not in told:
                    notes.append(f"{name} has no {self.info.published}: see {', '.join(told)} by --counted-by")
                if left_out:
                    notes.append(f"{name} is told without what is no mean over documents: {', '.join(left_out)}")
                items += items_of(name, task, groups.get(name, ""), number)
        return Reading(items, "lm-eval", notes=notes)

    def scorer(self, model: "SpiritLM", settings: RunSettings, options: Mapping[str, Any]) -> Scorer:
        """Return a function that scores documents together."""
        return TaskScorer(model, settings.batch_tokens).score

    def figures(self, lines: Sequence[Line]) -> dict[str, list[Figure]]:
        """Return the figures by metric: of all documents, of groups and tasks, and the mean over tasks.

        The share of documents whose prompt was cut is told as well, if there is one.
        """
        read = [AnswerLine.from_dict(line) for line in lines]
        by_task, by_group = ratios(read, "task"), ratios(read, "group")
        cut = sum(line.get("num_cut", 0) > 0 for line in lines)
        found = {}
        for way, (whole, *tasks) in by_task.items():
            several = len(tasks) > 1
            mean = sum(figure.value for figure in tasks) / len(tasks)
            found[way] = [
                whole,
                *([Figure("mean_of_tasks", mean, None, None, len(tasks))] if several else ()),
                *([Figure("prompts_cut", PERCENT * cut / len(lines), None, None, len(lines))] if cut else ()),
                *(by_group[way][1:] if several else ()),
                *(tasks if several else ()),
            ]
        return found

    def as_wrong(self, item: TaskItem, ways: Sequence[str]) -> Line:
        """Return the line that a document would have if the model had been wrong in all of some metrics."""
        return asdict(AnswerLine(item.id, {"task": item.task}, dict.fromkeys(ways, (0.0, 1.0)), {}))


def task_names(given: Any) -> list[str]:
    """Return the names of tasks in an option: a list, or one text with commas between them.

    Raises:
        ValueError: if there are none, or one is no name.
    """
    names = given.split(",") if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(
            "tasks must name tasks of lm-eval, such as --options '{tasks: [hellaswag, arc_easy]}', but are "
            f"{'left out' if given is None else repr(given)}"
        )
    return list(dict.fromkeys(name.strip() for name in names))


@contextmanager
def quiet() -> Iterator[None]:
    """Let lm-eval tell errors alone, and its data library draw no bars."""
    import_module("lm_eval.tasks")  # first: a message about it names the extra that brings both
    import datasets

    logger = logging.getLogger("lm_eval")
    level, bars = logger.level, datasets.utils.are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()
