"""MP3 (MPEG audio) that was joined from several files: its stretches of sound, the tags between them, and its length.

Decoders take a tag within the sound for damage, and the table at the start for that of the whole file. Sources: ISO
11172-3 and 13818-3 for frames; the Xing table; ID3v1, ID3v2.4, APEv2 and Lyrics3 for tags.
"""

import io
import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO

from spiritlm_pl.corpora.containers import size_of

TAG_SIZE = 10  # bytes of the head of an ID3 tag
HEAD = 4 + 32 + 12  # bytes of a frame in which a table may begin
ROUNDED = 0.1  # seconds by which the length of each part may be rounded
LONGEST_TAG = 1 << 20  # bytes to search for the end of a tag that tells its length only there
_RATES = (44_100, 48_000, 32_000)  # Hz; halves and quarters in the later versions
_BITRATES = {  # kbit/s, by (whether the version is MPEG-1, layer)
    (True, 1): [32 * place for place in range(1, 15)],
    (True, 2): [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    (True, 3): [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    (False, 1): [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    (False, 2): [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    (False, 3): [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
}


@dataclass(frozen=True)
class _Frame:
    """Contents of a frame's header.

    Attributes:
        length: length of the frame in bytes.
        seconds: duration of its sound in seconds.
        promised: length in seconds that a table in the frame declares; None if there is no table.
    """

    length: int
    seconds: float
    promised: float | None


@dataclass(frozen=True)
class Mp3:
    """Layout of an MP3 file.

    Attributes:
        sound: first and last byte of each stretch of frames; there are no tags between the frames of a stretch.
        seconds: length that the first table declares for the whole file, or the sum of the tables of all parts; None
            if there is no table.
    """

    sound: Sequence[tuple[int, int]]
    seconds: float | None


def read_mp3(file: BinaryIO) -> Mp3:
    """Find the stretches of sound of an MP3 file, as far as its frames are undamaged and declare their lengths."""
    size = size_of(file)
    begin, position = 0, _leading_tags(file)
    sound: list[tuple[int, int]] = []
    promised: list[float] = []
    of_first = 0.0  # seconds that the frames of the first part last
    while position < size:
        file.seek(position)
        frame = _frame(file.read(HEAD))
        if frame is not None:
            position += frame.length
            if frame.promised is not None:
                promised.append(frame.promised)
            elif len(promised) < 2:
                of_first += frame.seconds
            continue
        length = _tag_length(file, position)
        if length is None:  # damage, or a frame that does not declare its length: this is left to the decoder
            break
        if begin < position:
            sound.append((begin, position))
        begin = position = position + length
    if begin < size:
        sound.append((begin, size))
    if promised and promised[0] > of_first + sum(promised[1:]) - ROUNDED * len(promised):
        del promised[1:]  # the program that joined the files wrote a table of the whole into the first
    return Mp3(sound, sum(promised) if promised else None)


def _frame(head: bytes) -> _Frame | None:
    """Parse the header of a frame from its first bytes; None if it is none, or does not tell the frame's length."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    first = version == 3
    hertz = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    samples = {1: 384, 2: 1152, 3: 1152 if first else 576}[layer]
    slot = 4 if layer == 1 else 1
    length = (samples // 8 // slot * 1000 * _BITRATES[first, layer][bitrate - 1] // hertz + (head[2] >> 1 & 1)) * slot
    count = _promised(head, first) if layer == 3 else None
    return _Frame(length, samples / hertz, None if count is None else count * samples / hertz)


def _promised(head: bytes, first_version: bool) -> int | None:
    """Return the number of frames that a table in this frame declares; None if it has no table."""
    if len(head) < HEAD:
        return None
    is_mono = head[3] & 0xC0 == 0xC0
    side = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[first_version, is_mono]
    name, flags, count = struct.unpack(">4sII", head[4 + side : 16 + side])
    return int(count) if name in (b"Xing", b"Info") and flags & 1 else None


def _leading_tags(file: BinaryIO) -> int:
    """Return the position after all ID3 tags at the start, whose contents could be taken for frames."""
    position = 0
    while (length := _id3_length(file, position)) is not None:
        position += length
    return position


def _id3_length(file: BinaryIO, position: int) -> int | None:
    file.seek(position)
    tag = file.read(TAG_SIZE)
    if tag[:3] != b"ID3" or len(tag) < TAG_SIZE:
        return None
    footer = TAG_SIZE if tag[5] & 0x10 else 0
    return TAG_SIZE + sum((byte & 127) << 7 * place for place, byte in enumerate(reversed(tag[6:]))) + footer


def _tag_length(file: BinaryIO, position: int) -> int | None:
    """Return the length in bytes of the tag of any kind that begins there; None if none does."""
    if (length := _id3_length(file, position)) is not None:
        return length
    file.seek(position)
    content = file.read(LONGEST_TAG)
    if content[:4] == b"TAG+":
        return 227
    if content[:3] == b"TAG":
        return 128
    if content[:11] == b"LYRICSBEGIN":
        ends = [place + 9 for mark in (b"LYRICS200", b"LYRICSEND") if (place := content.find(mark)) >= 0]
        return min(ends, default=None)
    place = content.find(b"APETAGEX")
    if place < 0 or len(content) < place + 32:
        return None
    length, _, flags = struct.unpack("<III", content[place + 12 : place + 24])
    if flags & 1 << 29:  # this is a header of the tag, which its length does not include
        return 32 + length if place == 0 else None
    return place + 32 if length == place + 32 else None


class _Stretches(io.RawIOBase):
    """Several stretches of a file, readable as one file."""

    def __init__(self, file: BinaryIO, stretches: Sequence[tuple[int, int]]) -> None:
        self._file, self._stretches = file, stretches
        self._ends = [*accumulate(end - begin for begin, end in stretches)]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ends[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the type of its buffer is in stubs alone
        place = bisect_right(self._ends, self._position)
        if place == len(self._ends):
            return 0
        missing = self._ends[place] - self._position
        self._file.seek(self._stretches[place][1] - missing)
        content = self._file.read(min(missing, len(buffer)))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def without_tags(file: BinaryIO, mp3: Mp3) -> BinaryIO:
    """Return the file without the tags between its frames, or the file itself if it has none."""
    if len(mp3.sound) < 2 and (not mp3.sound or mp3.sound[0] == (0, size_of(file))):
        return file
    return io.BufferedReader(_Stretches(file, mp3.sound))
