"""Checks of audio files against the length that their containers declare, where decoders do not check it.

Decoders are lenient: of a file that ends too early, or of several files one after another, they return the first part.
Sources: RIFF and RF64 (EBU Tech 3306), AIFF, CAF, Sony Wave64; Ogg (RFC 3533).
"""

import os
import struct
from typing import BinaryIO

UNKNOWN_SIZE = 0x7F000000  # a size from here on stands for an unknown one, in files that were written to a pipe
JOINED = "audio file must be one file, but is several one after another instead"
FLAC_HEADS = (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22")
# By a file's first bytes: bytes before the first chunk, bytes of a chunk's name, struct code of its size,
# bytes of the chunk's head that this size includes, and the alignment of chunks in bytes.
_FAMILIES = {
    b"RIFF": (12, 4, "<I", 0, 2),
    b"RIFX": (12, 4, ">I", 0, 2),
    b"RF64": (12, 4, "<I", 0, 2),
    b"FORM": (12, 4, ">I", 0, 2),
    b"caff": (8, 4, ">q", 0, 1),
    b"riff": (40, 16, "<q", 24, 8),  # Wave64
}


class AudioError(ValueError):
    """Error for something that cannot be used as audio; the message says why."""


class UnknownFormatError(AudioError):
    """Error for something that no decoder recognises."""


def size_of(file: BinaryIO) -> int:
    """Return the size of a file in bytes."""
    return file.seek(0, os.SEEK_END)


def check_container(file: BinaryIO) -> bool:
    """Check the chunks of a WAV (also RIFX, RF64, Wave64), AIFF or CAF file, or that a FLAC file is not several in one.

    Returns:
        Whether the file declares the size of its sound, even by a number that means "all that follows"; False if the
        declared size is 0.

    Raises:
        AudioError: if the file ends before its sound does, or goes on after the end that its header declares.
    """
    size = size_of(file)
    file.seek(0)
    magic = file.read(4)
    family = _FAMILIES.get(magic)
    if family is None:
        if magic == b"fLaC":
            _check_joined_flac(file)
        return True
    position, name_length, code, counted, alignment = family
    head = name_length + struct.calcsize(code)
    bytes_per_second, long_size = size, None
    while position + head <= size:
        file.seek(position)
        name = file.read(name_length)[:4]
        length = struct.unpack(code, file.read(head - name_length))[0] - counted
        body = position + head
        if name in (b"RIFF", b"RIFX", b"FORM"):
            raise AudioError(JOINED)
        if name == b"fmt ":
            file.seek(8, os.SEEK_CUR)
            bytes_per_second = struct.unpack(code[0] + "I", file.read(4).ljust(4, b"\0"))[0] or size
        elif name == b"ds64":
            file.seek(8, os.SEEK_CUR)
            long_size = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
        elif name in (b"data", b"SSND"):
            length = length if long_size is None else long_size
            if length == 0 and body < size:
                return False
            if not 0 <= length < (UNKNOWN_SIZE if long_size is None and code[1] == "I" else 1 << 62):
                return True
            if body + length > size:
                raise AudioError(f"audio file is truncated: it lacks {body + length - size} of {length} bytes of sound")
        elif not name.isascii() or not 0 <= length <= size - body:
            break
        position = body + length + -(length + counted) % alignment
    if size - position > bytes_per_second:  # more than a second of sound is left; sizes above 4 GiB wrap around to 0
        raise AudioError(f"audio file must end where its header says, but has {size - position} bytes more instead")
    return True


def ogg_links(file: BinaryIO) -> list[int]:
    """Return the byte positions at which the consecutive streams of an Ogg file begin, and that of the file's end.

    Raises:
        AudioError: if the file ends within a page, or a page is damaged.
    """
    size, position, in_head, links = size_of(file), 0, False, []
    while position < size:
        file.seek(position)
        page = file.read(27)
        if page[:4] != b"OggS"[: len(page)]:
            if b"OggS" in page + file.read():
                raise AudioError(f"audio file is damaged: at byte {position} must be a page of Ogg, but is none")
            break  # a tag of another kind at the end
        first = len(page) == 27 and bool(page[5] & 2)
        if first and not in_head:
            links.append(position)
        in_head = first
        position += 27 + sum(file.read(page[26]), page[26]) if len(page) == 27 else 27
    if position > size:
        raise AudioError(f"audio file is truncated: its last page lacks {position - size} bytes")
    return [*links, position]


def _check_joined_flac(file: BinaryIO) -> None:
    tail = b""
    while block := file.read(1 << 20):
        if any(head in tail + block for head in FLAC_HEADS):
            raise AudioError(JOINED)
        tail = block[-7:]
