"""Lines of files that may be compressed, with their places, in bounded memory.

A place counts bytes from the start of the file, decompressed. A range [begin, end) has the lines that start in it, so
that adjoining ranges have every line once.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from spiritlm_pl.corpora.text_files.files import TextFile

Line = tuple[int, bytes | None]  # place; None for a line that is too long
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)
BUFFER = 1 << 20
SMALL_BUFFER = 1 << 16  # where all that is read at once is lost, if the file is cut off within it, or is fetched
STEP_BACK = 1 << 16
MARK = b"\xef\xbb\xbf"  # byte order mark, which is left out


def raw(file: TextFile) -> IO[bytes]:
    """Open a file for reading its bytes as they are stored."""
    if isinstance(file.path, Path):
        return io.BufferedReader(io.FileIO(file.path), BUFFER)
    # A large buffer would fetch as much of every object that is only looked at.
    return io.BufferedReader(file.path.open_unchecked(file.size), SMALL_BUFFER)


@contextmanager
def opened(file: TextFile) -> Iterator[IO[bytes]]:
    """Open a file for reading its bytes, decompressed."""
    with raw(file) as stored, decompressed(file, stored) as stream:
        yield stream


def decompressed(file: TextFile, stored: IO[bytes]) -> IO[bytes]:
    """Return the decompressed bytes of a file that was opened by `raw`."""
    return _DECOMPRESSED[file.compression](stored)


def is_damage(error: Exception) -> bool:
    """Tell whether one of `DAMAGE` is of what a file holds, and not of the disk, the network or the store."""
    return not isinstance(error, OSError) or error.errno is None


def _zstd(stored: IO[bytes]) -> IO[bytes]:
    from pyarrow import CompressedInputStream, PythonFile  # Python itself learns Zstandard with 3.14

    stream: Any = CompressedInputStream(PythonFile(stored, mode="r"), "zstd")
    return io.BufferedReader(stream, SMALL_BUFFER)


_DECOMPRESSED: dict[str | None, Callable[[IO[bytes]], IO[bytes]]] = {
    None: lambda stored: stored,
    "gzip": lambda stored: io.BufferedReader(gzip.GzipFile(fileobj=stored), BUFFER),  # type: ignore[arg-type]
    "bz2": lambda stored: io.BufferedReader(bz2.BZ2File(stored), BUFFER),
    "xz": lambda stored: io.BufferedReader(lzma.LZMAFile(stored), BUFFER),
    "zstd": _zstd,
}


def lines_between(stream: IO[bytes], begin: int, end: int | None, longest: int) -> Iterator[Line]:
    """Yield the lines that start in a range, with their places and their line breaks.

    Args:
        stream: file that was just opened; it must be seekable if `begin` is above 0.
        begin: first place of the range.
        end: place after the range; None for the end of the file.
        longest: number of bytes of the longest line that is kept.
    """
    place = 0
    if begin:
        stream.seek(begin - 1)
        place = begin - 1 + _to_line_break(stream)
    while (end is None or place < end) and (line := stream.readline(longest)):
        length = len(line)
        whole = length < longest or line.endswith(b"\n")
        if not whole:
            length += _to_line_break(stream)
        yield place, (line.removeprefix(MARK) if place == 0 else line) if whole else None
        place += length


def follows_blank_line(stream: IO[bytes], place: int) -> bool:
    """Tell whether the line that holds the byte before `place` (above 0) is blank.

    Args:
        stream: seekable file; its position is changed.
        place: place in the file.
    """
    start = _line_start(stream, place - 1)
    stream.seek(start)
    part = stream.readline(BUFFER).removeprefix(MARK if start == 0 else b"")
    while not part.strip():
        if part.endswith(b"\n") or not part:
            return True
        part = stream.readline(BUFFER)
    return False


def _line_start(stream: IO[bytes], place: int) -> int:
    """Return the place at which the line of a byte starts."""
    end = place
    while end > 0:
        start = max(0, end - STEP_BACK)
        stream.seek(start)
        found = stream.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _to_line_break(stream: IO[bytes]) -> int:
    """Read to the end of the line; return the number of bytes."""
    number = 0
    while part := stream.readline(BUFFER):
        number += len(part)
        if part.endswith(b"\n"):
            break
    return number
