"""Results of tasks: one small JSON file each, which can be copied between folders and are the same on all machines.

A result says what was run, with which code, where and for how long, and holds the figures of each of its steps.
"""

import json
import platform
from collections.abc import Iterable
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from spiritlm_pl.reproduce.plan import Step, Task
from spiritlm_pl.runtime.devices import num_cores
from spiritlm_pl.runtime.provenance import atomic_path, code_version

RESULTS = "results"
MERGED_FROM = "merged_from"  # in a result: the folder where it was made
SPLIT_METRICS = "val/"
LAYERS = ".layers."  # in the names of weights that are no embeddings
Result = dict[str, Any]


def result_path(folder: Path, name: str) -> Path:
    """Return the file of a task's result."""
    return folder / RESULTS / f"{name}.json"


def num_seeds(folder: Path) -> int:
    """Return the number of seeds, which are 0, 1, 2 and so on, that contains all those of a folder's results."""
    ends = [path.stem.rpartition("-")[2] for path in (folder / RESULTS).glob("*-*.json")]
    return max((int(end) + 1 for end in ends if end.isdecimal()), default=0)


def read_result(folder: Path, name: str) -> Result:
    """Read the result of a task; empty if there is none.

    Raises:
        ValueError: if the file is not of this kind.
    """
    path = result_path(folder, name)
    if not path.is_file():
        return {}
    try:
        result: Result = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(result["steps"], dict) and result["name"] == name
        assert all(isinstance(step, dict) for step in result["steps"].values())
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"results must be files that this command wrote, but {path} is not; remove it") from error
    return result


def done_steps(result: Result, steps: Iterable[Step]) -> dict[str, Any]:
    """Return what a result holds of those steps that it has with the same commands and configurations, by name."""
    found = result.get("steps", {})
    return {step.name: found[step.name] for step in steps if found.get(step.name, {}).get("key") == step.key}


def made_here(folder: Path, result: Result, task: Task) -> dict[str, Any]:
    """Return the steps of a task that are done and whose output lies in this folder, not only their figures."""
    if MERGED_FROM in result or not (folder / task.makes).exists():
        return {}
    return done_steps(result, task.steps)


def is_complete(result: Result, task: Task) -> bool:
    """Whether a result has all steps of its task, with the same commands and configurations."""
    return len(done_steps(result, task.steps)) == len(task.steps)


def is_outdated(result: Result, task: Task) -> bool:
    """Whether a result has a step of its task with other commands or configurations, so that it does not count."""
    found = result.get("steps", {})
    return any(step.name in found and found[step.name].get("key") != step.key for step in task.steps)


def add_step(folder: Path, task: Task, step: Step, seconds: float, words: Iterable[str]) -> None:
    """Write what a step gave to the result of its task, beside those of the task's other steps with valid keys."""
    result = read_result(folder, task.name)
    kept = {} if step is task.steps[0] else result.get("steps", {})  # what an earlier model gave is of no use
    found = {kind: READERS[kind](folder / "runs" / task.name / file) for kind, file in step.figures.items()}
    one = {
        "key": step.key,
        "command": list(words),
        "seconds": round(seconds, 1),
        "code": code_version(),
        "machine": machine(),
        "figures": found,
    }
    described = {"name": task.name, "condition": task.condition, "seed": task.seed}
    with atomic_path(result_path(folder, task.name)) as path:
        path.write_text(json.dumps(described | {"steps": kept | {step.name: one}}) + "\n", encoding="utf-8")


def drop_result(folder: Path, name: str) -> None:
    """Remove the result of a task before it is done anew, since what it makes is not whole until the task is done."""
    result_path(folder, name).unlink(missing_ok=True)


def machine() -> dict[str, Any]:
    """Describe this machine: host, processor, cores, and versions of Python and torch."""
    return {
        "host": platform.node(),
        "processor": _processor(),
        "cores": num_cores(),
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _metrics(path: Path) -> dict[str, float]:
    """Read the last losses of a training on held-out data."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in found.items() if name.startswith(SPLIT_METRICS) or name.startswith("perf/")}


def _size(path: Path) -> dict[str, int]:
    """Count the weights of a language model, without its embeddings."""
    with safe_open(path, framework="pt") as stored:
        shapes = [stored.get_slice(name).get_shape() for name in stored.keys() if LAYERS in name]  # noqa: SIM118
    return {"weights": sum(prod(shape) for shape in shapes)}


def _points(path: Path) -> dict[str, Any]:
    """Read the points of each item in each direction."""
    found = json.loads(path.read_text(encoding="utf-8"))
    ids = found.pop("ids")
    return {"ids": ids} | {name: scores["points"] for name, scores in found.items()}


def _layers(path: Path) -> list[dict[str, Any]]:
    """Read the similarity of spoken and written words in each layer."""
    found: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
    return next(iter(found.values()))


def _expressivity(path: Path) -> dict[str, float]:
    """Read what is left of melody (share of F0 frames that are wrong) and style (per cent told right)."""
    found = json.loads(path.read_text(encoding="utf-8"))["systems"]["run"]
    return {name: found[name]["value"] for name in ("f0_frame_error", "style") if found[name] is not None}


READERS = {"metrics": _metrics, "size": _size, "points": _points, "layers": _layers, "expressivity": _expressivity}
