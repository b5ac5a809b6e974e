"""Files of text on a disk or in object storage: their formats, and names that tell all of them apart."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

from spiritlm_pl.storage.places import Place

Result = TypeVar("Result")
ASKED_AT_ONCE = 16  # objects of a store, each of whose answers takes some hundredths of a second
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


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """A file of texts.

    Attributes:
        path: path of the file, or address of the object.
        name: last parts of the path, as few as tell all files of the source apart. Keys of documents begin with it.
        kind: format: text, json (one object a line), parquet or arrow.
        compression: gzip, bz2, xz or zstd; None for none.
        size: size on disk in bytes.
        changed: time of its last change, in nanoseconds since 1970; of an object, the store's mark of its contents.
    """

    path: Place
    name: str
    kind: str
    compression: str | None
    size: int
    changed: int | str

    def check_unchanged(self) -> None:
        """Compare size and time of the file with those that were found first.

        Raises:
            FileNotFoundError: if it is gone.
            ValueError: if it has changed.
        """
        if _state(self.path) != (self.size, self.changed):
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


def for_each(files: Sequence[TextFile], look: Callable[[TextFile], Result]) -> list[Result]:
    """Return what a short look into each file gives, in order; several at a time where they are in object storage."""
    if all(isinstance(file.path, Path) for file in files):
        return [look(file) for file in files]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        found = [pool.submit(look, file) for file in files]
        try:
            return [one.result() for one in found]
        finally:
            pool.shutdown(cancel_futures=True)


def distinct_names(paths: Sequence[Place]) -> list[str]:
    """Return the last parts of each path, as many of them as tell all paths apart.

    Args:
        paths: absolute paths and addresses, all different.
    """
    for parts in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def kind_of(path: PurePath) -> tuple[str | None, str | None]:
    """Return format and compression by the ending of a name; None for an unknown format, and for no compression."""
    compression = COMPRESSIONS.get(path.suffix.lower())
    kind = KINDS.get((path.with_suffix("") if compression else path).suffix.lower())
    return kind, compression


def described_file(path: Place, name: str | None = None, state: tuple[int, int | str] | None = None) -> TextFile:
    """Describe a file; one of unknown ending is plain text.

    Args:
        path: path or address of the file.
        name: name that tells it from others; None takes the last part of the path.
        state: its size and the mark of its last change; None looks.

    Raises:
        OSError: if it is not there.
        ValueError: if a format that is compressed within is compressed again.
    """
    kind, compression = kind_of(PurePath(path.name))
    if compression and kind not in (None, *COMPRESSIBLE):
        raise ValueError(f"text must be a {kind} file as it was written, but {path} is compressed: decompress it")
    size, changed = state or _state(path)
    return TextFile(
        path=path,
        name=path.name if name is None else name,
        kind=kind or "text",
        compression=compression,
        size=size,
        changed=changed,
    )


def _state(path: Place) -> tuple[int, int | str]:
    """Return the size of a file in bytes, and the mark of its last change."""
    if isinstance(path, Path):
        local = path.stat()
        return local.st_size, local.st_mtime_ns
    found = path.state()
    return found.bytes, found.version
