"""Tasks of lm-eval, read through its Python interface (lm-eval 0.4.13, github.com/EleutherAI/lm-evaluation-harness).

A task may be one of lm-eval's own or a YAML file in the folder of the data. Data is looked for in this folder first: a
copy of the repository `cais/mmlu` of the Hugging Face hub is `FOLDER/cais/mmlu`, and paths in a YAML file are relative
to the folder. What is not there is fetched from the hub, or taken from its cache.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from functools import partial
from hashlib import sha256
from inspect import getsourcefile, isfunction
from pathlib import Path
from typing import Any, cast

from spiritlm_pl.benchmarks.text.items import Answers, TaskItem

KINDS = ("multiple_choice", "loglikelihood")  # of output that are measured here
SHOT_SEED = 1234  # that of lm-eval's command
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of an object, another one in each process


def load_tasks(names: Sequence[str], folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Load tasks and groups of tasks with their data.

    Args:
        names: names of tasks, groups or tags.
        folder: folder of data and of tasks of one's own.

    Returns:
        lm-eval's tasks by name, and the group of each task that is in one.

    Raises:
        ValueError: if there is no such task, or its data cannot be read.
    """
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"tasks must be names of tasks of lm-eval, but one is {name!r}")
    folder = folder.resolve()
    with _within(folder):
        found = _found(names, folder)
    groups = {
        child: group
        for group, children in found.get("group_map", {}).items()
        for child in children
        if child in found["tasks"]
    }
    return dict(found["tasks"]), groups


@contextmanager
def _within(folder: Path) -> Iterator[None]:
    """Work in a folder, so that names of data sets and paths in task files are looked for there first."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with chdir(folder):
        yield


def _found(names: Sequence[str], folder: Path) -> dict[str, Any]:
    """Load tasks from the first place that has all of them, as all of lm-eval takes long to look through.

    Raises:
        ValueError: if none of them has all, or the data of a task cannot be read.
    """
    for own, manager in _managers(names, folder):
        unknown = [name for name in names if name not in manager.all_tasks]
        if unknown:
            continue
        try:
            return dict(manager.load(list(names)))
        except Exception as error:  # whatever a library of data raises, or a function of a task
            if own and isinstance(error, KeyError | TypeError):  # a group has tasks that are elsewhere
                continue
            what = " ".join(str(error).split())[:300]
            raise ValueError(
                f"data of the tasks {', '.join(names)} must be in {folder} (OWNER/NAME, a copy of the repository of "
                f"the data set), in the cache of Hugging Face or on its hub, but cannot be read: {what}"
            ) from error
    lacking = " and no ".join(unknown)
    raise ValueError(f"tasks must be tasks of lm-eval or YAML files in {folder}, but there is no {lacking}")


def _managers(names: Sequence[str], folder: Path) -> Iterator[tuple[bool, Any]]:
    """Yield lm-eval's indexes of the folder's tasks alone (True), of those that are likely meant, and of all."""
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    own = [str(folder)] if any(folder.rglob("*.yaml")) else []
    home = Path(lm_eval.tasks.__file__).parent
    parts = dict.fromkeys(part for name in names for part in (name, name.partition("_")[0]))
    near = [str(home / part) for part in parts if part and (home / part).is_dir()]
    if own:
        yield True, TaskManager(include_path=list(own), include_defaults=False)
    if near:
        yield True, TaskManager(include_path=[*near, *own], include_defaults=False)
    yield False, TaskManager(include_path=own or None)


def set_shots(task: Any, shots: int | None) -> int:
    """Set and return the number of solved examples, by lm-eval's rule: a task with 0 in its own file keeps it.

    Args:
        task: lm-eval's task.
        shots: number of solved examples; None for that of the task's file, or 0.
    """
    own = task.get_config("num_fewshot")
    number = own or 0 if shots is None or own == 0 else shots
    task.set_config(key="num_fewshot", value=number)
    task.set_fewshot_seed(seed=SHOT_SEED)
    return int(number)


def metrics_of(task: Any) -> tuple[list[str], list[str]]:
    """Return the metrics of a task that are means over documents, and the others, which are not told here."""
    from lm_eval.api.metrics import mean

    means = [name for name, function in task.aggregation().items() if function is mean]
    return means, [name for name in task.aggregation() if name not in means]


def config_of(task: Any) -> str:
    """Return a hash of a task's configuration and of the files of its functions: how it asks, and how it judges."""
    functions = [value for value in vars(task.config).values() if callable(value)]
    files = {getsourcefile(function) for function in functions if isfunction(function)}
    sources = sorted(sha256(Path(file).read_bytes()).hexdigest() for file in files if file and Path(file).is_file())
    told = dict(task.dump_config())
    metadata = told.pop("metadata", None) or {}  # with the path of the task's file
    rest = {key: value for key, value in metadata.items() if key != "config_source"}
    written = json.dumps([told, rest, sources], sort_keys=True, default=str)
    return sha256(_ADDRESS.sub("", written).encode()).hexdigest()[:16]


def check_task(name: str, task: Any) -> None:
    """Refuse a task that asks for something else than log-likelihoods of texts.

    Raises:
        ValueError: if it does, or has no metric that is a mean over documents.
    """
    kind = task.get_config("output_type")
    if kind not in KINDS:
        raise ValueError(
            f"tasks must be of {' or '.join(KINDS)}, but {name} is of {kind}: run lm_eval on the folder of export-lm"
        )
    if getattr(task, "MULTIMODAL", False) or task.get_config("filter_list"):
        raise ValueError(f"tasks must ask for text without filters, but {name} does not: run lm_eval itself")
    if not metrics_of(task)[0]:
        raise ValueError(f"tasks must have a metric that is a mean over documents, but {name} has none")


def items_of(name: str, task: Any, group: str, shots: int) -> Iterator[TaskItem]:
    """Yield the documents of a task in their order.

    Args:
        name: name of the task.
        task: lm-eval's task, with its number of solved examples.
        group: group of the task; empty for none.
        shots: number of solved examples.
    """
    means, _ = metrics_of(task)
    config = config_of(task)
    written = task.get_config("output_type") == "loglikelihood"
    for number, doc in task.doc_iterator():
        context = task.fewshot_context(doc, num_fewshot=shots, gen_prefix=task.doc_to_prefix(doc))
        asked = task.construct_requests(doc=doc, ctx=context, metadata=(name, number, 1))
        asked = asked if isinstance(asked, list) else [asked]
        yield TaskItem(
            id=f"{name}/{number}",
            task=name,
            group=group,
            requests=tuple((str(one.args[0]), str(one.args[1])) for one in asked),
            choices=() if written else tuple(map(str, task.doc_to_choice(doc))),
            gold=_gold(task, doc, written),
            needs_greedy=written or "exact_match" in means,
            num_shots=shots,
            metrics=tuple(means),
            config=config,
            judge=partial(_judge, task, doc, means),
        )


def _gold(task: Any, doc: Mapping[str, Any], written: bool) -> tuple[int | str, ...]:
    """Return what is right about a document; nothing if the task does not say it by numbers of choices."""
    target = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    found = target if isinstance(target, list) else [target]
    if written:
        return tuple(map(str, found))
    choices = list(task.doc_to_choice(doc))
    numbers = [choices.index(one) if isinstance(one, str) and one in choices else one for one in found]
    return tuple(one for one in numbers if isinstance(one, int) and 0 <= one < len(choices))


def _judge(task: Any, doc: Mapping[str, Any], means: Sequence[str], answers: Answers) -> Mapping[str, float]:
    found = cast("Mapping[str, Any]", task.process_results(doc, list(answers)))
    return {name: float(found[name]) for name in means if name in found}
