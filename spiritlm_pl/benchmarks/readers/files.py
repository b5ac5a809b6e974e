"""Files of a benchmark, found at any depth below the folder that a user gives."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from spiritlm_pl.corpora.files import files_below
from spiritlm_pl.runtime.found import found_at

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
SHOWN = 3  # names in a message; further ones are counted


def files_by_folder(folder: str | Path) -> dict[Path, list[Path]]:
    """Return the files below a folder by the folder that they lie in; hidden files are left out.

    Raises:
        FileNotFoundError: if there is no such folder, or it holds no file.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"a benchmark must be a folder, but {found_at(root)}")
    found: dict[Path, list[Path]] = {}
    for path in files_below(root):
        if not path.name.startswith("."):
            found.setdefault(path.parent, []).append(path)
    if not found:
        raise FileNotFoundError(f"a benchmark must be a folder with files, but {root} holds none")
    return found


def is_audio(path: Path) -> bool:
    """Return whether a file has the suffix of an audio file."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def audio_by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Return the audio files of one folder by their names without suffix; of two with one name, the first."""
    found: dict[str, Path] = {}
    for path in files:
        if is_audio(path):
            found.setdefault(path.stem, path)
    return found


def listed(names: Sequence[str]) -> str:
    """Return names for a message: a few of them, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def unique_name(name: str, seen: dict[str, int]) -> str:
    """Return a name that was not returned before: the name itself, or with #2 and so on behind it.

    Args:
        name: name that several items may have.
        seen: how often each name was asked for, which is counted on.
    """
    seen[name] = seen.get(name, 0) + 1
    return name if seen[name] == 1 else f"{name}#{seen[name]}"
