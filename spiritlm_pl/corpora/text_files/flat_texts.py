"""Many texts as one array of UTF-8 bytes, in which white space and words are found without a look at each text.

Shapes: D texts, N bytes of all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

SPACE, LINE_BREAK = 0x20, 0x0A
WHITE_SPACE = "".join(char for char in map(chr, range(0x10000)) if char.isspace())
LIKE_SPACES = "\u180e\u200b\ufeff\u2581"  # characters that some tokenizers take for white space
CACHED = 1 << 20  # bytes of texts whose marks are computed together, which a processor's cache should hold


def _codes(characters: str) -> dict[int, Integers]:
    """Return the sorted codes in UTF-8 of the characters of more than one byte, by their number of bytes."""
    encoded = sorted(char.encode() for char in characters)
    return {
        length: np.array([int.from_bytes(code) for code in encoded if len(code) == length], dtype=np.int64)
        for length in {len(code) for code in encoded} - {1}
    }


_WHITE_SPACE, _WHITE_SPACE_OR_ALIKE = map(_codes, (WHITE_SPACE, WHITE_SPACE + LIKE_SPACES))


@dataclass(frozen=True, eq=False)
class TextBatch:
    """Documents of a file.

    Attributes:
        places: place of each in the file (D,): the byte at which it starts, or the number of its row.
        texts: texts as large strings (D,).
    """

    places: Integers
    texts: pa.Array

    @classmethod
    def of(cls, places: Sequence[int], texts: Sequence[str]) -> "TextBatch":
        """Make a batch of lists."""
        return cls(np.array(places, dtype=np.int64), pa.array(texts, pa.large_string()))

    @classmethod
    def concatenate(cls, batches: Sequence["TextBatch"]) -> "TextBatch":
        """Join batches, of which there must be at least one, in their order."""
        places = np.concatenate([batch.places for batch in batches])
        return cls(places, pa.concat_arrays([batch.texts for batch in batches]))


@dataclass(frozen=True, eq=False)
class FlatTexts:
    """Texts, one after the other.

    Attributes:
        data: bytes of all texts (N,).
        bounds: start of each text in them, and the end (D + 1,), from 0 to N.
    """

    data: Bytes
    bounds: Integers

    @classmethod
    def of(cls, texts: pa.Array) -> "FlatTexts":
        """Take the texts of an array of large strings without a copy."""
        _, ends, data = texts.buffers()
        bounds = (
            np.frombuffer(ends, np.int64)[texts.offset : texts.offset + len(texts) + 1] if ends else np.zeros(1, int)
        )
        found = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]] if data else np.zeros(0, np.uint8)
        return cls(found, bounds - bounds[0])

    def array(self) -> pa.Array:
        """Return the texts as large binary strings of Arrow, without a copy."""
        buffers = [None, pa.py_buffer(self.bounds), pa.py_buffer(self.data)]
        return pa.Array.from_buffers(pa.large_binary(), len(self), buffers)

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.bounds) - 1

    def __iter__(self) -> Iterator[memoryview]:
        """Yield the bytes of each text."""
        view, bounds = self.data.data, self.bounds.tolist()
        return (view[begin:end] for begin, end in pairwise(bounds))

    def parts(self) -> Iterator["FlatTexts"]:
        """Yield the texts in their order, about so many at a time as a processor's cache holds, one at least."""
        begin = 0
        while begin < len(self):
            last = int(np.searchsorted(self.bounds, self.bounds[begin] + CACHED, side="right")) - 1
            end = max(begin + 1, last)
            bounds = self.bounds[begin : end + 1]
            yield FlatTexts(self.data[bounds[0] : bounds[-1]], bounds - bounds[0])
            begin = end

    def having(self, byte: int) -> Flags:
        """Tell of each text whether it has an ASCII character (D,)."""
        return self.marked(self.data == byte)

    def marked(self, flags: Flags) -> Flags:
        """Tell of each text whether one of its bytes is marked (D,), by the marks of all bytes (N,)."""
        found = np.zeros(len(self), dtype=bool)
        found[np.searchsorted(self.bounds, np.flatnonzero(flags), side="right") - 1] = True
        return found

    def edges(self) -> Flags:
        """Tell of each place whether a text begins or ends there (N + 1,)."""
        found = np.zeros(len(self.data) + 1, dtype=bool)
        found[self.bounds] = True
        return found

    def are_spaces(self) -> Flags:
        """Tell of each byte whether it is of a character of white space, as `str.isspace` has it (N,)."""
        return self._are_of(_WHITE_SPACE)

    def are_like_spaces(self) -> Flags:
        """Tell of each byte whether it is of white space, or of what some tokenizers take for it (N,)."""
        return self._are_of(_WHITE_SPACE_OR_ALIKE)

    def _are_of(self, codes: Mapping[int, Integers]) -> Flags:
        """Tell of each byte whether it is ASCII white space, or of a character whose code is given by its length."""
        found = (self.data - np.uint8(9) < 5) | (self.data - np.uint8(28) < 5)  # others wrap around
        begins = np.flatnonzero(self.data >= 0xC2)  # of characters of more than one byte
        leads = self.data[begins]
        for length, some in codes.items():
            may_be = np.zeros(256, dtype=bool)
            may_be[some >> 8 * (length - 1)] = True
            places = begins[may_be[leads]]
            code = np.zeros(len(places), dtype=np.int64)
            for number in range(length):
                code = (code << 8) + self.data[places + number]
            places = places[some[np.searchsorted(some[:-1], code)] == code]
            for number in range(length):
                found[places + number] = True
        return found

    def without_spaces(self) -> "FlatTexts":
        """Return the texts without their white space."""
        spaces = self.are_spaces()
        return FlatTexts(self.data[~spaces], self.bounds - np.searchsorted(np.flatnonzero(spaces), self.bounds))

    def with_single_spaces(self) -> "FlatTexts":
        """Return the texts as `" ".join(text.split())` gives each of them."""
        spaces, edges = self.are_spaces(), self.edges()
        # Of each stretch of white space, its last byte becomes the space, unless the text ends there.
        left = spaces.copy()
        left[:-1] &= spaces[1:] | edges[1:-1]
        begins = self.bounds[:-1]
        leading = np.zeros(len(self), dtype=bool)  # whether a text begins with white space that something follows
        filled = begins < self.bounds[1:]
        leading[filled] = spaces[begins[filled]]
        lost = np.flatnonzero(left)
        data = self.data.copy()
        data[np.flatnonzero(spaces & (data != SPACE))] = SPACE  # few, so that this is faster than `np.where`
        if len(lost):
            data = data[~left]
        bounds = self.bounds - np.searchsorted(lost, self.bounds)
        if not leading.any():
            return FlatTexts(data, bounds)
        kept = np.ones(len(data), dtype=bool)
        first = bounds[:-1][leading & (bounds[:-1] < bounds[1:])]
        kept[first] = False
        return FlatTexts(data[kept], bounds - np.searchsorted(first, bounds))
