"""Files of text by paths, folders, patterns, and addresses of object storage."""

import json
from collections.abc import Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeAlias

from spiritlm_pl.corpora.files import files_below
from spiritlm_pl.corpora.text_files.files import COMPRESSIONS, KINDS, TextFile, described_file, distinct_names, kind_of
from spiritlm_pl.storage.listing import Listed
from spiritlm_pl.storage.places import Place, is_url, place
from spiritlm_pl.storage.remote import RemotePath

DATASET, DATASET_SPLITS = "state.json", "dataset_dict.json"  # as `datasets` writes them with `save_to_disk`
State: TypeAlias = tuple[int, int | str] | None  # size, and the mark of the last change; None where nobody looked yet
Found: TypeAlias = dict[Place, State]


def find_files(patterns: Sequence[str], name: str = "text") -> list[TextFile]:
    """Find the files of a source of texts, in order of their paths.

    Args:
        patterns: paths of files and folders, and patterns such as `data/**/*.jsonl.zst`, or addresses of such in object
            storage. A folder stands for all files in it, at any depth, whose endings are known; a folder that
            `datasets` saved stands for its data.
        name: name of the argument that gives them, for messages.

    Raises:
        FileNotFoundError: if there is no such file, or a pattern or folder has none.
        ValueError: if a file is named twice, or a folder has several splits.
        OSError: if a store refuses to list its objects, or does not answer.
    """
    found: Found = {}
    for pattern in patterns:
        remote = place(pattern) if is_url(pattern) else None
        matches = _matches(pattern, name) if not isinstance(remote, RemotePath) else _remote_matches(remote, name)
        for path, state in matches.items():
            if path in found:
                raise ValueError(f"{name} must name every file once, but {path} is named twice")
            found[path] = state
    ordered = sorted(found, key=lambda path: path.parts)
    return [
        described_file(path, file_name, found[path])
        for path, file_name in zip(ordered, distinct_names(ordered), strict=True)
    ]


def _matches(pattern: str, name: str) -> Found:
    """Return the files of one path or pattern."""
    path = Path(pattern.removeprefix("file://")).expanduser()
    if path.is_file():
        return {path.absolute(): None}
    if path.is_dir():
        return _of_local(path)
    if not has_magic(pattern):
        raise _nothing(pattern, name)
    matches = [Path(match) for match in glob(str(path), recursive=True)]
    inner: Found = {match.absolute(): None for match in matches if match.is_file()}
    if not inner:  # a pattern of folders
        for match in sorted(matches):
            inner |= _of_local(match)
    if not inner:
        raise _nothing(pattern, name)
    return inner


def _remote_matches(pattern: RemotePath, name: str) -> Found:
    """Return the objects of one address, or, where nothing has this very name, of a pattern, as on a disk."""
    if not has_magic(pattern.parts[0]):  # no bucket has such a name
        try:
            return _states(pattern, [pattern.state()])
        except FileNotFoundError:
            pass
        below = pattern.below()
        if below:
            return _of_folder(pattern, _states(pattern, below))
    if not has_magic(pattern.url):
        raise _nothing(pattern, name)
    objects, folders = pattern.matches()
    shown = [one for one in objects if not _is_hidden(one.url, pattern.url)]
    found = _states(pattern, shown)
    if not found:  # a pattern of folders
        for folder in sorted(one for one in folders if not _is_hidden(one, pattern.url)):
            inner = RemotePath(folder, pattern.store)
            found |= _of_folder(inner, _states(inner, inner.below()))
    if not found:
        raise _nothing(pattern, name)
    return found


def _states(folder: RemotePath, objects: Sequence[Listed]) -> Found:
    return {RemotePath(one.url, folder.store): (one.bytes, one.version) for one in objects}


def _is_hidden(url: str, pattern: str) -> bool:
    """Tell whether a wildcard stands for a name that begins with a dot, which it does not on a disk either."""
    written = pattern.split("/")
    first = next(number for number, part in enumerate(written) if has_magic(part))
    return "/." not in pattern and any(part.startswith(".") for part in url.split("/")[first:])


def _nothing(pattern: object, name: str) -> FileNotFoundError:
    if has_magic(str(pattern)):
        return FileNotFoundError(f"{name} must be files, folders or patterns, but no file matches {pattern}")
    return FileNotFoundError(f"{name} must be files, folders or patterns, but {pattern} is not there")


def _of_local(folder: Path) -> Found:
    folder = folder.absolute()
    return _of_folder(folder, dict.fromkeys(files_below(folder)))


def _of_folder(folder: Place, inner: Mapping[Place, State]) -> Found:
    """Return the files of a folder that hold text, at any depth.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if it is a saved dataset of several splits, or one that cannot be read.
    """
    if folder / DATASET_SPLITS in inner:
        splits = sorted(path.parent.name for path in inner if path.name == DATASET and path.parent.parent == folder)
        raise ValueError(
            f"text must name one split of a dataset, but {folder} has {', '.join(splits) or 'none'}: "
            f"take {folder / (splits or ['SPLIT'])[-1]} or the like"
        )
    if folder / DATASET in inner:
        return {path: inner[path] for path in _of_dataset(folder, inner)}
    depth = len(folder.parts)
    known = {path: state for path, state in inner.items() if _is_data(PurePosixPath(*path.parts[depth:]))}
    if not known:
        endings = ", ".join([*KINDS, *(f".jsonl{ending}" for ending in COMPRESSIONS)])
        raise FileNotFoundError(
            f"text must be a folder with files that end with {endings} or so, but {folder} has none"
        )
    return known


def _of_dataset(folder: Place, inner: Mapping[Place, State]) -> list[Place]:
    """Return the Arrow files of a folder that `Dataset.save_to_disk` wrote.

    Raises:
        FileNotFoundError: if one is missing.
        ValueError: if its `state.json` is not as expected.
    """
    try:
        state = json.loads((folder / DATASET).read_bytes())
        names = [str(entry["filename"]) for entry in state["_data_files"]]
        chosen = state.get("_indices_data_files")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"text must be a folder of Dataset.save_to_disk, but {folder / DATASET}: {error!r}") from None
    if chosen:
        raise ValueError(f"text must be a dataset without indices, but {folder} has some: save flatten_indices() of it")
    for name in names:
        if folder / name not in inner:
            raise FileNotFoundError(f"text must be a whole dataset, but {folder / name} is not there")
    return [folder / name for name in names]


def _is_data(path: PurePath) -> bool:
    """Tell whether a file of a folder is taken: its ending is known, and no part of its path is hidden."""
    hidden = any(part.startswith((".", "_")) for part in path.parts)
    return (
        not hidden and kind_of(path)[0] is not None and path.name not in (DATASET, "dataset_info.json", DATASET_SPLITS)
    )
