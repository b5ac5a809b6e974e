"""Files of text by paths, folders and patterns: their formats, and names that tell all of them apart."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from spiritlm_pl.corpora.files import files_below
from spiritlm_pl.storage.places import is_url

KINDS = {
    ".txt": "text",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
COMPRESSIBLE = ("text", "json")
TABLES = ("parquet", "arrow")
DATASET, DATASET_SPLITS = "state.json", "dataset_dict.json"  # as `datasets` writes them with `save_to_disk`


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """A file of texts.

    Attributes:
        path: path of the file.
        name: last parts of the path, as few as tell all files of the source apart. Keys of documents begin with it.
        kind: format: text, json (one object a line), parquet or arrow.
        compression: gzip, bz2, xz or zstd; None for none.
        size: size on disk in bytes.
        changed: time of its last change, in nanoseconds since 1970.
    """

    path: Path
    name: str
    kind: str
    compression: str | None
    size: int
    changed: int

    def check_unchanged(self) -> None:
        """Compare size and time of the file with those that were found first.

        Raises:
            FileNotFoundError: if it is gone.
            ValueError: if it has changed.
        """
        state = self.path.stat()
        if (state.st_size, state.st_mtime_ns) != (self.size, self.changed):
            raise ValueError(f"text must stay as it is while it is read, but {self.path} has changed meanwhile")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Part of a file.

    Attributes:
        file: file of texts.
        begin: start of the range: bytes of plain text and JSON lines, row groups of Parquet, record batches of Arrow.
        end: end of the range; None for the end of the file.
    """

    file: TextFile
    begin: int = 0
    end: int | None = None


def find_files(patterns: Sequence[str], name: str = "text") -> list[TextFile]:
    """Find the files of a source of texts, in order of their paths.

    Args:
        patterns: paths of files and folders, and patterns such as `data/**/*.jsonl.zst`. A folder stands for all files
            in it, at any depth, whose endings are known; a folder that `datasets` saved stands for its data.
        name: name of the argument that gives them, for messages.

    Raises:
        FileNotFoundError: if there is no such file, or a pattern or folder has none.
        ValueError: if a file is named twice, is in object storage, or a folder has several splits.
    """
    found: list[Path] = []
    for pattern in patterns:
        found += (Path(path).absolute() for path in _matches(pattern, name))
    seen: set[Path] = set()
    for path in found:
        if path in seen:
            raise ValueError(f"{name} must name every file once, but {path} is named twice")
        seen.add(path)
    ordered = sorted(found)
    return [_described(path, name) for path, name in zip(ordered, distinct_names(ordered), strict=True)]


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Return the last parts of each path, as many of them as tell all paths apart.

    Args:
        paths: absolute paths, all different.
    """
    for parts in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _matches(pattern: str, name: str) -> Iterable[Path]:
    """Return the files of one path or pattern."""
    if is_url(pattern):
        raise ValueError(f"text must be local files, folders or patterns, but {pattern} is not; download it first")
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        return _of_folder(path)
    if not has_magic(pattern):
        raise FileNotFoundError(f"{name} must be files, folders or patterns, but {pattern} is not there")
    matches = [Path(match) for match in glob(str(path), recursive=True)]
    inner = [match for match in matches if match.is_file()]
    if not inner:  # a pattern of folders
        inner = [file for match in sorted(matches) for file in _of_folder(match)]
    if not inner:
        raise FileNotFoundError(f"{name} must be files, folders or patterns, but no file matches {pattern}")
    return inner


def _of_folder(folder: Path) -> list[Path]:
    """Return the files of a folder that hold text, at any depth.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if it is a saved dataset of several splits, or one that cannot be read.
    """
    if (folder / DATASET_SPLITS).is_file():
        splits = sorted(inner.parent.name for inner in folder.glob(f"*/{DATASET}"))
        raise ValueError(
            f"text must name one split of a dataset, but {folder} has {', '.join(splits) or 'none'}: "
            f"take {folder / (splits or ['SPLIT'])[-1]} or the like"
        )
    if (folder / DATASET).is_file():
        return _of_dataset(folder)
    known = [path for path in files_below(folder) if _is_data(path.relative_to(folder))]
    if not known:
        endings = ", ".join([*KINDS, *(f".jsonl{ending}" for ending in COMPRESSIONS)])
        raise FileNotFoundError(
            f"text must be a folder with files that end with {endings} or so, but {folder} has none"
        )
    return known


def _of_dataset(folder: Path) -> list[Path]:
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
        if not (folder / name).is_file():
            raise FileNotFoundError(f"text must be a whole dataset, but {folder / name} is missing")
    return [folder / name for name in names]


def _is_data(path: Path) -> bool:
    """Tell whether a file of a folder is taken: its ending is known, and no part of its path is hidden."""
    hidden = any(part.startswith((".", "_")) for part in path.parts)
    return not hidden and _kind(path)[0] is not None and path.name not in (DATASET, "dataset_info.json", DATASET_SPLITS)


def _kind(path: Path) -> tuple[str | None, str | None]:
    """Return format and compression by the ending of a name; None for an unknown format, and for no compression."""
    compression = COMPRESSIONS.get(path.suffix.lower())
    kind = KINDS.get((path.with_suffix("") if compression else path).suffix.lower())
    return kind, compression


def described_file(path: Path) -> TextFile:
    """Describe one file by itself.

    Raises:
        OSError: if it is not there.
        ValueError: if a format that is compressed within is compressed again.
    """
    return _described(path, path.name)


def _described(path: Path, name: str) -> TextFile:
    """Describe a file; one of unknown ending is plain text.

    Raises:
        ValueError: if a format that is compressed within is compressed again.
    """
    kind, compression = _kind(path)
    if compression and kind not in (None, *COMPRESSIBLE):
        raise ValueError(f"text must be a {kind} file as it was written, but {path} is compressed: decompress it")
    state = path.stat()
    return TextFile(
        path=path,
        name=name,
        kind=kind or "text",
        compression=compression,
        size=state.st_size,
        changed=state.st_mtime_ns,
    )
