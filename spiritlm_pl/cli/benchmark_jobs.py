"""What `spiritlm benchmark run` is asked for: names, folders and options, checked before anything slow is imported."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spiritlm_pl.benchmarks.catalogue import CATALOGUE, SETS
from spiritlm_pl.benchmarks.info import Info, check_options
from spiritlm_pl.interop.release.layout import Release
from spiritlm_pl.registry import find, find_all, registered
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.runtime.model_description import CONFIG_FILE, DESCRIPTION_FILE, LM

if TYPE_CHECKING:
    from spiritlm_pl.benchmarks.contract import Benchmark

ALL = "all"  # name of the set of all benchmarks


@dataclass(frozen=True)
class Job:
    """Benchmark that is to be run.

    Attributes:
        name: name of the benchmark.
        folder: folder or file of its data.
        options: its options.
    """

    name: str
    folder: Path
    options: dict[str, Any]


def known_benchmarks() -> dict[str, Info]:
    """Return the facts about all benchmarks by name; only those of other packages are imported for that."""
    others = find_all("benchmarks", leave_out=CATALOGUE)
    return {name: others[name].info if name in others else CATALOGUE[name].info for name in sorted_names(others)}


def sorted_names(others: Mapping[str, object]) -> list[str]:
    """Return the names of all benchmarks, those of this package first, without others that could not be imported."""
    return [name for name in registered("benchmarks") if name in CATALOGUE or name in others]


def benchmarks_named(name: str) -> dict[str, Info]:
    """Return the benchmarks that a name stands for, with the facts about each.

    Raises:
        ValueError: if there is no such benchmark or set.
    """
    plain = name.replace("-", "_")
    if plain in registered("benchmarks") and plain in CATALOGUE:
        return {plain: CATALOGUE[plain].info}
    known = known_benchmarks()
    if plain in known:
        return {plain: known[plain]}
    found = {key: info for key, info in known.items() if plain == ALL or plain in info.sets}
    if not found:
        sets = sets_of(known)
        near = get_close_matches(plain, [*known, *sets], n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"NAME must be one of {', '.join(known)}, or of the sets {', '.join(sets)}, but is {name!r} instead{meant}"
        )
    return found


def options_of(name: str) -> tuple[str, ...]:
    """Return the names of the options of a benchmark."""
    return CATALOGUE[name].options if name in CATALOGUE else tuple(find("benchmarks", name, "NAME").options)


def sets_of(known: Mapping[str, Info]) -> list[str]:
    """Return the names of all sets."""
    return [*sorted({*SETS, *(one for info in known.values() for one in info.sets)}), ALL]


def planned_jobs(name: str, data: Path, options: dict[str, Any]) -> list[Job]:
    """Return the benchmarks that a name stands for, with their folders and options.

    Args:
        name: name of a benchmark or of a set.
        data: folder or file of a benchmark's data, or YAML file with a folder, or a folder and options, by name.
        options: options that hold for all of them.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        ValueError: if there is no such benchmark, the file has folders for none, or the only one lacks an option.
    """
    chosen = benchmarks_named(name)
    alone = list(chosen) == [name.replace("-", "_")]
    if not data.exists():
        raise FileNotFoundError(f"DATA must be a folder or file, or a YAML file of a set, but {found_at(data)}")
    if data.is_dir() or (alone and data.suffix not in (".yaml", ".yml")):
        if not alone:
            raise ValueError(f"DATA must be a YAML file with the folders of a set, but is {data}")
        jobs = [Job(key, data, options) for key in chosen]
    else:
        jobs = _listed_jobs(chosen, data, options)
    if len(jobs) == 1 and jobs[0].name in CATALOGUE:  # one of several is told at the end, as the others are run
        check_options(jobs[0].options, CATALOGUE[jobs[0].name].options)
    return jobs


def _listed_jobs(chosen: Mapping[str, Info], data: Path, options: dict[str, Any]) -> list[Job]:
    """Read the file of a set.

    Raises:
        ValueError: if it is none, or has folders for none of the benchmarks.
    """
    try:
        listed = yaml.safe_load(data.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"DATA must be a folder or a YAML file, but {data} cannot be read: {error}") from error
    if not isinstance(listed, dict):
        raise ValueError(f"DATA must be a YAML file with a folder by name, but {data} holds {listed!r}")
    jobs = []
    for name, info in chosen.items():
        entry = listed.get(name, listed.get(info.data or name))
        if entry is None:
            print(f"{name}: {data} has no folder for it, so it is left out", file=sys.stderr)
            continue
        own = dict(entry) if isinstance(entry, dict) else {"folder": entry}
        if not isinstance(own.get("folder"), str):
            raise ValueError(f"{name} must have a folder in {data}, but has {entry!r}")
        folder = data.parent / Path(own.pop("folder")).expanduser()
        jobs.append(Job(name, folder, own | options))
    if not jobs:
        raise ValueError(f"DATA must have folders for {', '.join(chosen)}, but {data} has none of them")
    return jobs


def loaded_jobs(jobs: "list[Job]") -> "list[tuple[Job, Benchmark]]":
    """Return jobs with their benchmarks; one that stands for several, such as tasks of lm-eval, becomes as many.

    Raises:
        ValueError: if an option that names the parts is wrong.
    """
    found: list[tuple[Job, Benchmark]] = []
    for job in jobs:
        benchmark: Benchmark = find("benchmarks", job.name, "NAME")
        parts = getattr(benchmark, "parts", None)
        split = {job.name: (benchmark, job.options)} if parts is None else parts(job.name, job.options)
        found += [(Job(key, job.folder, own), one) for key, (one, own) in split.items()]
    return found


def check_model(model: Path, speech_tokenizer: Path | None) -> None:
    """Check that there is something like a model in a folder, before the slow check of what it holds.

    Raises:
        FileNotFoundError: if there is no such folder, or nothing like a model in it.
    """
    told = "--model must be a model folder, the folder of a language model or the published release"
    if not model.is_dir():
        raise FileNotFoundError(f"{told}, but {found_at(model)}")
    parts = (LM, DESCRIPTION_FILE, CONFIG_FILE)
    if not Release.is_at(model) and not any((model / part).exists() for part in parts):
        raise FileNotFoundError(f"{told}, but {model} holds neither {parts[0]}/ nor {parts[1]} or {parts[2]}")
    if speech_tokenizer is not None and not speech_tokenizer.is_dir():
        raise FileNotFoundError(f"--speech-tokenizer must be a folder, but {found_at(speech_tokenizer)}")
