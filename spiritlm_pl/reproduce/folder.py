"""Folder of `spiritlm reproduce`: settings and speech tokenizers that all its runs share."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import Any

from spiritlm_pl.reproduce.plan import Settings, plan_file
from spiritlm_pl.runtime.checksums import check_plain, read_object, values_of
from spiritlm_pl.runtime.left_over import temporary_folder
from spiritlm_pl.runtime.limits import check_budget
from spiritlm_pl.runtime.provenance import atomic_path, file_sha256

SETTINGS_FILE = "settings.json"
TOKENIZERS = "tokenizers"
WEIGHTS = "*.safetensors"


def has_tokenizer(quickstart: Path, name: str) -> bool:
    """Whether the folder of a quickstart has a speech tokenizer, which the plan calls by this name."""
    return any((quickstart / plan_file()["tokenizers"][name]).rglob(WEIGHTS))


def copy_tokenizer(folder: Path, quickstart: Path, name: str) -> None:
    """Copy a speech tokenizer of a quickstart's folder, so that all machines use the same; one that is there is kept.

    Args:
        folder: folder to copy to.
        quickstart: folder of a quickstart that has made it.
        name: name of the tokenizer, as the plan calls it.

    Raises:
        ValueError: if another tokenizer is there.
    """
    source, target = quickstart / plan_file()["tokenizers"][name], folder / TOKENIZERS / name
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(target) as new:
            shutil.copytree(source, new / name)
            try:
                (new / name).replace(target)
            except OSError:
                if not target.is_dir():  # else another process was faster
                    raise
    if fingerprint(target) != fingerprint(source):
        raise ValueError(
            f"quickstart must be the one whose tokenizers {folder} has, but {source} is another; take an empty "
            "folder, or leave --quickstart out"
        )


def fingerprint(folder: Path) -> str:
    """Return a hash of the weights and settings of a speech tokenizer."""
    found = sorted(path for pattern in (WEIGHTS, "config.json") for path in folder.rglob(pattern))
    names = [(str(path.relative_to(folder)), file_sha256(path)) for path in found]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def check_same_settings(folder: Path, other: Path) -> None:
    """Check that two folders have the same settings; one without any has the results alone, whose keys tell.

    Raises:
        ValueError: if the other folder has other settings than this one.
    """
    held, theirs = (_held(path) if path.is_file() else {} for path in (folder / SETTINGS_FILE, other / SETTINGS_FILE))
    for name in held.keys() & theirs.keys():
        if held[name] != theirs[name]:
            raise ValueError(
                f"merge must name folders with the {name} of {folder}, {held[name]:g}, but {other} has {theirs[name]:g}"
            )


def _held(path: Path) -> dict[str, Any]:
    """Read the settings of a folder.

    Raises:
        ValueError: if the file holds something else; names it.
    """
    held = read_object(path)
    with values_of(path):
        check_plain(held, {"stories": int, "budget": float})
        check_budget(held["budget"])
        if not 0 < held["stories"] < inf:
            raise ValueError(f"stories must be above 0, but is {held['stories']} instead")
    return held


def shared_settings(
    folder: Path, tokenizers: Iterable[str], stories: int | None, budget: float | None, defaults: tuple[int, float]
) -> Settings:
    """Return the settings of a folder, which the first call writes.

    Args:
        folder: folder of the runs.
        tokenizers: names of the speech tokenizers that the runs need.
        stories: number of stories; None for that of the folder.
        budget: factor of the numbers of steps; None for that of the folder.
        defaults: stories and budget of a new folder where none are given.

    Raises:
        ValueError: if the folder has other settings.
    """
    path = folder / SETTINGS_FILE
    given = {"stories": stories, "budget": budget}
    if path.is_file():
        held = _held(path)
        for name, value in given.items():
            if value is not None and value != held[name]:
                raise ValueError(f"{name} must be that of {folder}, {held[name]:g}, but is {value:g} instead")
    else:
        held = {
            name: usual if given[name] is None else given[name] for name, usual in zip(given, defaults, strict=True)
        }
        with atomic_path(path) as new:
            new.write_text(json.dumps(held) + "\n", encoding="utf-8")
    return Settings(held["stories"], held["budget"], {n: fingerprint(folder / TOKENIZERS / n) for n in tokenizers})
