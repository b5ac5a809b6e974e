"""Plan of `spiritlm reproduce`: what is done once, and runs, each a condition with a seed, as `plan.yaml` and
`conditions.yaml` have it.
"""

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

import yaml

from spiritlm_pl.cli.configs import config_contents

SHORTEST_RUN = 4  # optimizer steps
UNITS, CHOICE = "units/hubert/stories", "--rivals=near"  # what runs are measured on, unless their condition says so
LM = "lm"


@dataclass(frozen=True)
class Step:
    """One command of a task.

    Attributes:
        name: name of the step within its task.
        command: words of the command, without `spiritlm` in front.
        figures: files with the figures of this step, below the run's folder, by the kind of figure.
        key: hash of the command, of the configurations that it names, and of all that the task needs.
    """

    name: str
    command: tuple[str, ...]
    figures: Mapping[str, str]
    key: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """Commands that belong together and are done by one process.

    Attributes:
        name: name of the task, its log and its result; for a run CONDITION-SEED.
        title: title for people.
        steps: commands in their order. What the first one makes is needed by the others.
        needs: names of the tasks that must be finished before this one.
        makes: path of what other tasks need of this one.
        threads: number of cores that the task computes on.
        condition: name of the condition of a run; None for shared work.
        seed: seed of a run; None for shared work.
        programs: names of programs that it calls, which not every system has.
    """

    name: str
    title: str
    steps: tuple[Step, ...]
    needs: tuple[str, ...] = ()
    makes: str = ""
    threads: int = 1
    condition: str | None = None
    seed: int | None = None
    programs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """Settings that all runs of a folder share, so that their results can be compared.

    Attributes:
        stories: number of stories, for training and test.
        budget: factor that all numbers of training steps are multiplied by.
        tokenizers: SHA-256 of each speech tokenizer by its name.
    """

    stories: int
    budget: float
    tokenizers: Mapping[str, str]


@cache
def plan_file() -> dict[str, Any]:
    """Read the plan, with its conditions."""
    folder = files("spiritlm_pl.reproduce")
    plan, conditions = (
        yaml.safe_load((folder / name).read_text(encoding="utf-8")) for name in ("plan.yaml", "conditions.yaml")
    )
    return {**plan, "conditions": conditions}


def all_tasks(settings: Settings, conditions: Iterable[str], seeds: int) -> list[Task]:
    """Return the runs of some conditions with all that they need, each after what it needs.

    Runs of the first seed come first, so that each condition has been seen once before any is seen again.

    Args:
        settings: settings of the folder.
        conditions: names of the conditions.
        seeds: number of seeds, which are 0, 1, 2 and so on.
    """
    wanted = list(conditions)
    tasks: dict[str, Task] = {}
    for seed in range(seeds):
        for name in wanted:
            _add_run(tasks, settings, name, seed)
    return list(tasks.values())


def run_name(condition: str, seed: int) -> str:
    """Return the name of a run."""
    return f"{condition}-{seed}"


def _add_run(tasks: dict[str, Task], settings: Settings, condition: str, seed: int) -> None:
    name = run_name(condition, seed)
    if name in tasks:
        return
    described = plan_file()["conditions"][condition]
    kind = plan_file()["steps_of"][described.get("kind", LM)]
    needs = [*described.get("needs", kind["needs"])]
    for need in needs:
        _add_shared(tasks, settings, need)
    if "after" in described:
        _add_run(tasks, settings, described["after"], seed)
        needs.append(run_name(described["after"], seed))
    steps = _scaled(plan_file()["steps"] * described.get("length", 1), settings)
    measured = {"units": described.get("units", UNITS), "choice": described.get("choice", CHOICE)}
    values = {"run": name, "seed": str(seed), "steps": steps} | measured
    values["options"] = Template(described.get("options", "")).substitute(values)
    tasks[name] = Task(
        name=name,
        title=f"{described['title']}, seed {seed}",
        steps=_steps(kind["steps"], values, [_key_of(tasks[need]) for need in needs]),
        needs=tuple(needs),
        makes=Template(kind["makes"]).substitute(values),
        threads=kind.get("threads", 1),
        condition=condition,
        seed=seed,
    )


def _add_shared(tasks: dict[str, Task], settings: Settings, name: str) -> None:
    if name in tasks:
        return
    described = plan_file()["shared"][name]
    for need in described.get("needs", ()):
        _add_shared(tasks, settings, need)
    beside = [_key_of(tasks[need]) for need in described.get("needs", ())]
    beside += [settings.tokenizers[one] for one in described.get("tokenizers", ())]
    numbered = {f"command {number}": {"command": line} for number, line in enumerate(described["commands"], 1)}
    lengths = {one: _scaled(number, settings) for one, number in described.get("steps", {}).items()}
    values = {"stories": str(settings.stories)} | lengths
    tasks[name] = Task(
        name=name,
        title=described["title"],
        steps=_steps(numbered, values, beside, chained=True),
        needs=tuple(described.get("needs", ())),
        makes=described["makes"],
        threads=described.get("threads", 1),
        programs=tuple(described.get("programs", ())),
    )


def _scaled(steps: float, settings: Settings) -> str:
    """Return a number of optimizer steps, scaled by the budget."""
    return str(max(SHORTEST_RUN, round(steps * settings.budget)))


def _steps(
    described: Mapping[str, Any], values: Mapping[str, str], beside: list[str], chained: bool = False
) -> tuple[Step, ...]:
    """Fill in the commands, and compute their keys.

    In a run, the key of each step depends on that of the first, which makes what the others measure, so that a step
    that a later version adds does not change the keys of the others.

    Args:
        described: steps by name.
        values: variables of the commands.
        beside: keys of what the task needs.
        chained: whether each step depends on all before it.
    """
    steps: list[Step] = []
    for name, one in described.items():
        words = tuple(shlex.split(Template(one["command"]).substitute(values)))
        before = [*beside, *(step.key for step in (steps if chained else steps[:1]))]
        steps.append(Step(name, words, one.get("figures", {}), _key(words, before)))
    return tuple(steps)


def _key(words: tuple[str, ...], before: list[str]) -> str:
    configs = [word.partition("=")[2] for word in words if word.startswith("--config=")]
    contents = [values for name in configs for values in config_contents(name)]
    values = json.dumps([words, contents, before], sort_keys=True, default=str)  # dates have no form of their own
    return hashlib.sha256(values.encode()).hexdigest()


def _key_of(task: Task) -> str:
    """Return the key of what a task makes: for a run that of its training, for shared work that of its last command."""
    return task.steps[0 if task.condition else -1].key


def needed_tokenizers(conditions: Iterable[str]) -> list[str]:
    """Return the names of the speech tokenizers that runs of some conditions need."""
    blank = Settings(0, 1.0, dict.fromkeys(plan_file()["tokenizers"], ""))
    tasks = all_tasks(blank, conditions, 1)
    shared = [plan_file()["shared"][task.name] for task in tasks if task.condition is None]
    return list(dict.fromkeys(name for one in shared for name in one.get("tokenizers", ())))
