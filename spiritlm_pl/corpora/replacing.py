"""Replacement of a corpus: by one that was made with the same settings, or where it is asked for, without orphans.

Which audio a corpus folder holds by `spiritlm prepare`, and not by its user, stands in a hidden list, which is written
before the audio: what a new corpus, or one that was begun with other settings, does not need is removed at the end.
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from spiritlm_pl.corpora.layout import read_info
from spiritlm_pl.runtime.provenance import atomic_path

AUDIO_LIST = ".audio.json"


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
        if name in made and not _same(made[name], value):
            raise ValueError(
                f"out must be a new folder, or one that was made with the same settings, but {folder} was made with "
                f"{name.replace('_', ' ')} {_shown(made[name])} instead of {_shown(value)}: choose another folder, or "
                "replace it with --overwrite"
            )


def check_corpus(folder: str | Path, source: str, arguments: Mapping[str, Any], overwrite: bool) -> None:
    """Refuse to replace a complete corpus that was made of something else or with other settings.

    Args:
        folder: path of the corpus folder that is to be written.
        source: description of where the corpus comes from.
        arguments: values that it is to be made with.
        overwrite: whether to replace a corpus all the same.

    Raises:
        ValueError: if a setting differs, without `overwrite`.
    """
    info = None if overwrite else read_info(folder)
    if info is not None:
        made = {"source": info.get("source"), **info.get("arguments", {})}
        check_same_settings(folder, made, {"source": source, **arguments})


def note_audio(folder: str | Path, paths: Iterable[Path], surely: bool = False) -> None:
    """Note which audio files a run writes into a corpus folder.

    Args:
        folder: path of the corpus folder, created if missing.
        paths: paths of the files, below the folder.
        surely: whether all of them are written; if not, a file that is there and was not noted stays the user's.
    """
    root = Path(folder)
    found = {name for path in paths if (name := _name(root, path)) is not None}
    _write(root, {*_read(root), *(name for name in found if surely or not (root / name).exists())})


def drop_orphans(folder: str | Path, used: Iterable[Path], sources: Iterable[Path] = ()) -> None:
    """Remove audio files that runs of `spiritlm prepare` have written and a corpus does not use.

    Args:
        folder: path of the corpus folder.
        used: paths of the audio files of its cuts.
        sources: paths of the files that it was made of, which stay.
    """
    root = Path(folder)
    given = {path.resolve() for path in sources}
    own = {name for path in used if (name := _name(root, path)) is not None and path.resolve() not in given}
    for path in (root / name for name in {*_read(root)} - own):
        if path.resolve() in given:
            continue
        path.unlink(missing_ok=True)
        with suppress(OSError):  # the folder holds other files, is a link, or is gone
            path.parent.rmdir()
    _write(root, own)


def _name(root: Path, path: Path) -> str | None:
    """Return the path of a file below a corpus folder, in which `audio` may be a link; None for files elsewhere."""
    absolute = Path(os.path.abspath(path))
    for folder in (Path(os.path.abspath(root)), root.resolve()):
        if absolute.is_relative_to(folder):
            return str(absolute.relative_to(folder))
    return None


def _read(root: Path) -> list[str]:
    names: list[str] = []
    with suppress(OSError, ValueError):  # there is none yet, or it is damaged: then no file counts as our own
        names = json.loads((root / AUDIO_LIST).read_text(encoding="utf-8"))
    return names


def _write(root: Path, names: Iterable[str]) -> None:
    with atomic_path(root / AUDIO_LIST) as path:
        path.write_text(json.dumps(sorted(names), indent=0) + "\n", encoding="utf-8")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one == other or Path(one).resolve() == Path(other).resolve()  # a path may be typed in several ways
    return bool(one == other)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
