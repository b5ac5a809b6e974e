"""Replacement of a corpus: by one that was made with the same settings, or where it is asked for, without orphans.

Which audio a corpus folder holds by `spiritlm prepare`, and not by its user, stands in a hidden list, which is written
before the audio: what a new corpus, or one that was begun with other settings, does not need is removed at the end.
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from spiritlm_pl.corpora.layout import SPLITS, aligned_later, read_info
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.runtime.provenance import atomic_path

AUDIO_LIST = ".audio.json"
PATHS = {"source", "file", "audio", "audio_root", "supervisions", "prompts"}  # settings, stored as absolute paths
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")  # of the audio that a run writes


def check_same_settings(folder: str | Path, made: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to replace what a command has made with other settings.

    Args:
        folder: folder that holds it.
        made: settings that it was made with, as JSON has them; one that is missing was not recorded, and may be any.
        wanted: settings of this run, in the order in which they are compared.

    Raises:
        ValueError: if a setting differs; the message names the first one with both values.
    """
    for name, value in json.loads(json.dumps(wanted, default=str)).items():
        if name in made and not _same(name, made[name], value):
            raise ValueError(
                f"out must be a new folder, or one that was made with the same settings, but {folder} was made with "
                f"{name.replace('_', ' ')} {_shown(made[name])} instead of {_shown(value)}: choose another folder, or "
                "replace it with --overwrite"
            )


def check_corpus(folder: str | Path, source: str, arguments: Mapping[str, Any], overwrite: bool) -> None:
    """Refuse to replace a complete corpus that was made of something else or with other settings, or aligned since.

    Args:
        folder: path of the corpus folder that is to be written.
        source: description of where the corpus comes from.
        arguments: values that it is to be made with.
        overwrite: whether to replace a corpus all the same.

    Raises:
        ValueError: if the path is no folder; if a setting differs, or word times of `spiritlm align` would be lost,
            without `overwrite`.
    """
    place = next((one for one in (Path(folder), *Path(folder).parents) if one.exists()), Path())
    if not place.is_dir():
        raise ValueError(f"out must be a folder, but {found_at(place)}")
    info = None if overwrite else read_info(folder)
    if info is not None:
        lost = aligned_later(folder)
        made = {"source": info.get("source"), **info.get("arguments", {})}
        try:
            check_same_settings(folder, made, {"source": source, **arguments})
        except ValueError as error:
            loss = f", which loses the word times that `spiritlm align` gave {lost} utterances" if lost else ""
            raise ValueError(f"{error}{loss}") from None
        if lost:
            raise ValueError(
                f"out must be a new folder, or one without word times of `spiritlm align`, but {folder} has those of "
                f"{lost} utterances, which would be lost: choose another folder, or replace it with --overwrite"
            )


def own_audio(folder: str | Path) -> set[Path]:
    """Return the resolved paths of the audio that runs of `spiritlm prepare` have written into a corpus folder."""
    return {(Path(folder) / name).resolve() for name in _read(Path(folder)) or ()}


def claim_audio(folder: str | Path, paths: Iterable[Path], sources: Iterable[Path]) -> list[Path]:
    """Note where a run may write audio into a corpus folder: under other names than files that are not its own.

    Where there is no list, what the manifests name counts as the folder's own. Sources of this run never do.

    Args:
        folder: path of the corpus folder, created if missing.
        paths: paths below the folder at which the audio would be written.
        sources: paths of the files that the corpus is made of.

    Returns:
        A path for each of those given, with "%" and a number where a file of the user has that name.
    """
    root = Path(folder)
    noted = _read(root)
    own = _named_by_manifests(root) if noted is None else {(root / name).resolve() for name in noted}
    own -= {path.resolve() for path in sources}
    claimed = []
    for path in paths:
        place, number = path, 1
        while place.exists() and place.resolve() not in own:
            number += 1
            place = path.with_name(f"{path.stem}%{number}{path.suffix}")
        claimed.append(place)
    found = {name for path in claimed if (name := _name(root, path)) is not None}
    _write(root, {*(noted or ()), *found})
    return claimed


def drop_orphans(folder: str | Path, used: Iterable[Path], sources: Iterable[Path] = ()) -> None:
    """Remove audio files that runs of `spiritlm prepare` have written and a corpus does not use.

    Args:
        folder: path of the corpus folder.
        used: paths of the audio files of its cuts.
        sources: paths of the files that it was made of, which stay.
    """
    root = Path(folder)
    needed = {path.resolve() for path in (*used, *sources)}
    kept = []
    for name in _read(root) or ():
        path = root / name
        if path.resolve() in needed:
            kept.append(name)
            continue
        path.unlink(missing_ok=True)
        with suppress(OSError):  # the folder holds other files, is a link, or is gone
            path.parent.rmdir()
    _write(root, kept)


def _name(root: Path, path: Path) -> str | None:
    """Return the path of a file below a corpus folder, in which `audio` may be a link; None for files elsewhere."""
    absolute = Path(os.path.abspath(path))
    for folder in (Path(os.path.abspath(root)), root.resolve()):
        if absolute.is_relative_to(folder):
            return str(absolute.relative_to(folder))
    return None


def _named_by_manifests(root: Path) -> set[Path]:
    """Return the audio files of a corpus that lie below its folder, as far as its manifests can be read."""
    found: set[Path] = set()
    for split in SPLITS:
        with (
            suppress(OSError, EOFError, zlib.error, ValueError, KeyError, TypeError),
            gzip.open(root / f"cuts_{split}.jsonl.gz", "rt", encoding="utf-8") as lines,
        ):
            for line in lines:
                found.update((root / one["source"]).resolve() for one in json.loads(line)["recording"]["sources"])
    return found


def _read(root: Path) -> list[str] | None:
    """Return the names that are noted; None if there is no list, or a damaged one, which could name any file."""
    try:
        names = json.loads((root / AUDIO_LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return names if isinstance(names, list) and all(map(_is_audio_below, names)) else None


def _is_audio_below(name: Any) -> bool:
    """Tell whether a name is that of an audio file below the folder."""
    if not isinstance(name, str) or "\0" in name:
        return False
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts and path.suffix.lower() in SUFFIXES


def _write(root: Path, names: Iterable[str]) -> None:
    with atomic_path(root / AUDIO_LIST) as path:
        path.write_text(json.dumps(sorted(names), indent=0) + "\n", encoding="utf-8")


def _same(name: str, one: Any, other: Any) -> bool:
    if name in PATHS and isinstance(one, str) and isinstance(other, str):
        return one == other or Path(one).resolve() == Path(other).resolve()  # earlier versions stored it as typed
    return bool(one == other)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
