"""Flat arrays that are derived from larger files once, kept beside these, and mapped into memory by every process.

    <folder>/.index/<name>-<key>/index.json    type, length and CRC-32 of each array, written last
    <folder>/.index/<name>-<key>/<array>.bin   its values

The key tells the state of the files from which the arrays come, so that arrays of an earlier state are never used, and
are removed when new ones are written. A folder gets its name when it is complete. Where the files lie in a folder that
cannot be written to, the index goes to the user's cache. Arrays are checked when they are opened. Records, which may be
larger than the memory, are read one at a time, and whoever reads them checks them.
"""

import errno
import json
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from spiritlm_pl.runtime.provenance import atomic_path
from spiritlm_pl.storage.places import Place
from spiritlm_pl.storage.user_cache import user_cache

DESCRIPTION = "index.json"
RECORDS = "records"  # the one array that is never mapped as a whole
PIECE = 1 << 24  # bytes that are checked at once
ABANDONED = 86_400  # seconds after which an unfinished index is that of a killed process
ATTEMPTS = 3  # to open what another process may remove, whose files or version are others
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # errors of a disk on which nothing can be written


class IndexWriter:
    """Writer of arrays that grow.

    Args:
        folder: existing folder for the arrays.
    """

    def __init__(self, folder: Path) -> None:
        """Open no file yet."""
        self.folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._about: dict[str, dict[str, Any]] = {}

    def append(self, name: str, values: np.ndarray[Any, Any] | bytes) -> None:
        """Append values to an array, which begins with the first ones."""
        array = np.frombuffer(values, np.uint8) if isinstance(values, bytes) else values
        if name not in self._files:
            self._files[name] = (self.folder / f"{name}.bin").open("wb")
            self._about[name] = {"dtype": array.dtype.str, "length": 0, "crc": 0}
        about = self._about[name]
        assert about["dtype"] == array.dtype.str, "an array has one type"
        raw = array.tobytes()
        self._files[name].write(raw)
        about["length"] += array.size
        about["crc"] = zlib.crc32(raw, about["crc"])

    def __enter__(self) -> "IndexWriter":
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files, and describe them if there was no error."""
        with ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)
            for file in self._files.values() if kind is None else ():
                file.flush()
                os.fsync(file.fileno())
        if kind is None:
            with atomic_path(self.folder / DESCRIPTION) as path:  # on the disk, too, before the folder has its name
                path.write_text(json.dumps(self._about) + "\n", encoding="utf-8")


class FlatIndex:
    """Arrays of an index, read-only, and its records.

    Attributes:
        arrays: arrays by name, mapped into memory.

    Args:
        folder: folder of the index.

    Raises:
        OSError: if a file is missing.
        ValueError: if one is damaged.
    """

    _reader: int | None = None  # descriptor of the file of the records

    def __init__(self, folder: Path) -> None:
        """Check and map the arrays."""
        self.folder = folder
        about = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        for name, entry in about.items():
            path, dtype = folder / f"{name}.bin", np.dtype(entry["dtype"])
            if path.stat().st_size != entry["length"] * dtype.itemsize:
                raise ValueError(f"{path} must have {entry['length']} values, but has {path.stat().st_size} bytes")
            if name == RECORDS:
                self._reader = os.open(path, os.O_RDONLY)  # now, as the folder may be removed when it is stale
                continue
            if _crc(path) != entry["crc"]:
                raise ValueError(f"{path} must have the checksum with which it was written, but has not")
            empty = not entry["length"]
            self.arrays[name] = np.empty(0, dtype) if empty else np.memmap(path, dtype=dtype, mode="r")

    def record(self, start: int, stop: int, crc: int) -> bytes:
        """Read bytes of the records.

        Args:
            start: place of the first byte.
            stop: place after the last byte.
            crc: CRC-32 of these bytes.

        Raises:
            ValueError: if they are damaged.
        """
        assert self._reader is not None, "this index has records"
        raw = os.pread(self._reader, stop - start, start)  # which forked processes may share
        if zlib.crc32(raw) != crc:
            raise ValueError(f"{self.folder} must be as it was written, but is damaged: remove it")
        return raw

    def __del__(self) -> None:
        """Close the file of the records."""
        if self._reader is not None:
            os.close(self._reader)

    def __reduce__(self) -> tuple[Any, ...]:
        """Map the files again in another process."""
        return _mapped_again, (self.folder,)


def _mapped_again(folder: Path) -> FlatIndex:
    found = _opened(folder)
    if found is None:
        raise ValueError(
            f"files must stay as they are while a program reads them, but their index {folder} is gone, "
            "as another program has changed them: start again"
        )
    return found


def _opened(folder: Path) -> FlatIndex | None:
    """Open an index; None where there is none, or a damaged one, which is written anew."""
    try:
        return FlatIndex(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            crc = zlib.crc32(piece, crc)
    return crc


def file_key(path: Path, length: int = 8) -> str:
    """Return a key of a file's present state: its size, the time of its last change, and its last bytes.

    Args:
        path: path of the file.
        length: number of bytes at its end; the last eight of a gzip file tell the checksum of its contents.
    """
    state = path.stat()
    with path.open("rb") as stream:
        stream.seek(max(0, state.st_size - length))
        end = stream.read()
    return f"{state.st_size} {state.st_mtime_ns} {end.hex()}"


def open_index(beside: Place, name: str, state: str, build: Callable[[IndexWriter], None]) -> FlatIndex:
    """Open the index of some files, and build it first where it is missing, stale or damaged.

    Args:
        beside: folder of the files; the index of files in object storage goes to the user's cache.
        name: name of the index, of which only the present state is kept.
        state: text that differs whenever the files, or the form of the index, differ.
        build: function that writes the arrays.

    Raises:
        OSError: if no place for an index can be written to.
    """
    homes, refused = _homes(beside)
    title = f"{name}-{sha256(state.encode()).hexdigest()[:16]}"
    for _ in range(ATTEMPTS):
        for home in homes:
            if (found := _opened(home / title)) is not None:
                return found
        home = _written(homes, title, build, refused)
        _remove_others(home, name, title)
        if (found := _opened(home / title)) is not None:
            return found
    raise OSError(f"{home / title} must stay while it is opened, but another process removes it: start again")


def _homes(beside: Place) -> tuple[list[Path], list[str]]:
    """Return the folders in which the index of some files may lie, and why one of them is left out."""
    homes = [beside / ".index"] if isinstance(beside, Path) else []
    where = beside.resolve() if isinstance(beside, Path) else beside
    try:
        return [*homes, user_cache("index") / sha256(str(where).encode()).hexdigest()[:16]], []
    except OSError as error:
        return homes, [str(error)]


def _written(homes: list[Path], title: str, build: Callable[[IndexWriter], None], refused: list[str]) -> Path:
    """Write an index in the first place that can be written to and has room, and return the place."""
    errors = []
    for home in homes:
        temporary = home / f".{title}.{uuid.uuid4().hex}.tmp"
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            errors.append(str(error))
            continue
        try:
            with IndexWriter(temporary) as writer:
                build(writer)
            _rename(temporary, home / title)
            return home
        except OSError as error:
            if error.errno not in FULL:
                raise
            errors.append(str(error))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    reasons = "; ".join([*errors, *refused])
    raise OSError(f"an index must be written beside its files or in the user's cache, but cannot be: {reasons}")


def _rename(temporary: Path, final: Path) -> None:
    """Give a complete index its name, unless another process was faster and its index is whole."""
    for left in reversed(range(ATTEMPTS)):
        try:
            temporary.rename(final)
            return
        except OSError:
            if _opened(final) is not None:
                return
            if not left:
                raise
            with suppress(OSError):  # another process may have removed it meanwhile
                final.rename(temporary.with_suffix(f".damaged{left}"))
            shutil.rmtree(temporary.with_suffix(f".damaged{left}"), ignore_errors=True)


def _remove_others(home: Path, name: str, title: str) -> None:
    """Remove indices of earlier states, and what killed processes left."""
    for path in home.glob(f"{name}-*"):
        if path.name != title:
            shutil.rmtree(path, ignore_errors=True)
    for path in home.glob(f".{name}-*"):
        with suppress(OSError):  # its process has just ended
            if time.time() - path.stat().st_mtime > ABANDONED:
                shutil.rmtree(path, ignore_errors=True)


def json_array(values: Mapping[str, Any] | list[Any]) -> bytes:
    """Return the bytes of a small value, to be appended as an array and read by `from_json_array`."""
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")


def from_json_array(array: np.ndarray[Any, Any]) -> Any:
    """Return the value of `json_array`."""
    return json.loads(array.tobytes().decode("utf-8", "surrogatepass"))
