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
from io import BufferedReader
from pathlib import Path
from typing import Any

from spiritlm_pl.corpora.text_files.files import TextFile

Line = tuple[int, bytes | None]  # place; None for a line that is too long
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)
BUFFER = 1 << 20
SMALL_BUFFER = 1 << 16  # where all that is read at once is lost, if the file is cut off within it, or is fetched
STEP_BACK = 1 << 16
MARK = b"\xef\xbb\xbf"  # byte order mark, which is left out


def raw(file: TextFile) -> BufferedReader:
    """Open a file for reading its bytes as they are stored."""
    if isinstance(file.path, Path):
        return BufferedReader(io.FileIO(file.path), BUFFER)
    # A large buffer would fetch as much of every object that is only looked at.
    return BufferedReader(file.path.open_unchecked(file.size), SMALL_BUFFER)


@contextmanager
def opened(file: TextFile) -> Iterator[BufferedReader]:
    """Open a file for reading its bytes, decompressed."""
    with raw(file) as stored, decompressed(file, stored) as stream:
        yield stream


def decompressed(file: TextFile, stored: BufferedReader) -> BufferedReader:
    """Return the decompressed bytes of a file that was opened by `raw`."""
    return _DECOMPRESSED[file.compression](stored)


def is_damage(error: Exception) -> bool:
    """Tell whether one of `DAMAGE` is of what a file holds, and not of the disk, the network or the store."""
    return not isinstance(error, OSError) or error.errno is None


def _zstd(stored: BufferedReader) -> BufferedReader:
    from pyarrow import CompressedInputStream, PythonFile  # Python itself learns Zstandard with 3.14

    stream: Any = CompressedInputStream(PythonFile(stored, mode="r"), "zstd")
    return BufferedReader(stream, SMALL_BUFFER)


_DECOMPRESSED: dict[str | None, Callable[[BufferedReader], BufferedReader]] = {
    None: lambda stored: stored,
    "gzip": lambda stored: BufferedReader(gzip.GzipFile(fileobj=stored), BUFFER),  # type: ignore[arg-type]
    "bz2": lambda stored: BufferedReader(bz2.BZ2File(stored), BUFFER),
    "xz": lambda stored: BufferedReader(lzma.LZMAFile(stored), BUFFER),
    "zstd": _zstd,
}


def lines_between(stream: BufferedReader, begin: int, end: int | None, longest: int) -> Iterator[Line]:
    """Yield the lines that start in a range, with their places and their line breaks.

    Args:
        stream: file that was just opened; it must be seekable if `begin` is above 0.
        begin: first place of the range.
        end: place after the range; None for the end of the file.
        longest: number of bytes of the longest line that is kept.
    """
    place = _first_line(stream, begin)
    while (end is None or place < end) and (line := stream.readline(longest)):
        length = len(line)
        whole = length < longest or line.endswith(b"\n")
        if not whole:
            length += _to_line_break(stream)
        yield place, (line.removeprefix(MARK) if place == 0 else line) if whole else None
        place += length


def blocks_between(stream: BufferedReader, begin: int, end: int | None, longest: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that start in a range, many of them as one string of bytes, with the place of the first.

    Of a line that is too long, there are at least `longest` bytes, perhaps without its end.

    Args:
        stream: file that was just opened; it must be seekable if `begin` is above 0.
        begin: first place of the range.
        end: place after the range; None for the end of the file.
        longest: number of bytes of the longest line that should be kept.
    """
    place, held = _first_line(stream, begin), b""
    for part in _parts(stream):
        if end is not None and place >= end:
            return
        read = held + part
        cut = read.rfind(b"\n") + 1 if part else len(read)
        if end is not None and place + cut >= end:
            cut = read.find(b"\n", end - 1 - place) + 1 or cut
        block, held = read[:cut], read[cut:]
        if block:
            yield place, block
            place += len(block)
        if len(held) >= longest:
            yield place, held
            place, held = place + len(held) + _to_line_break(stream), b""


def _parts(stream: BufferedReader) -> Iterator[bytes]:
    """Yield what is left of a file, at most a buffer at a time, as far as it is not damaged, and nothing at the end."""
    read: list[bytes] = []
    try:
        while part := stream.read1(SMALL_BUFFER):
            read.append(part)
            if len(read) * SMALL_BUFFER >= BUFFER:
                yield b"".join(read)
                read = []
    except DAMAGE:
        if read:
            yield b"".join(read)
        raise
    if read:
        yield b"".join(read)
    yield b""


def follows_blank_line(stream: BufferedReader, place: int) -> bool:
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


def _line_start(stream: BufferedReader, place: int) -> int:
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


def _first_line(stream: BufferedReader, begin: int) -> int:
    """Go to the first line that starts at a place or after it; return its place."""
    if not begin:
        return 0
    stream.seek(begin - 1)
    return begin - 1 + _to_line_break(stream)


def _to_line_break(stream: BufferedReader) -> int:
    """Read to the end of the line; return the number of bytes."""
    number = 0
    while part := stream.readline(BUFFER):
        number += len(part)
        if part.endswith(b"\n"):
            break
    return number
