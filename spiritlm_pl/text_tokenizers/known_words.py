"""Words whose ids are kept, so that those that occur again are not encoded again.

Shapes: W words, N tokens of all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spiritlm_pl.corpora.text_files.flat_texts import FlatTexts
from spiritlm_pl.runtime.ragged import ragged_take

Ids: TypeAlias = npt.NDArray[np.unsignedinteger]
Integers: TypeAlias = npt.NDArray[np.int64]
MOST_WORDS = 1 << 18  # words that are kept
FEW = 4  # how many known words make one word of a batch few
MOST_IDS = 1 << 22  # ids of words that are kept
MOST_BYTES = 1 << 18  # of words that are encoded together, for which libraries take up to 200 bytes a byte


@dataclass(frozen=True, eq=False)
class IdTable:
    """Ids of words, one after the other.

    Attributes:
        ids: ids of all words (N,).
        bounds: start of each word in them, and the end (W + 1,).
    """

    ids: Ids
    bounds: Integers

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]], dtype: np.dtype[Any]) -> "IdTable":
        """Join lists of the ids of a word each."""
        bounds = bounds_of(np.fromiter(map(len, lists), dtype=np.int64, count=len(lists)))
        return cls(np.fromiter(chain.from_iterable(lists), dtype=dtype, count=int(bounds[-1])), bounds)

    def __len__(self) -> int:
        """Return the number of words."""
        return len(self.bounds) - 1

    def take(self, places: Integers) -> "IdTable":
        """Return the words at some places, in this order."""
        return IdTable(ragged_take(self.ids, self.bounds, places), bounds_of(np.diff(self.bounds)[places]))

    def joined(self, *others: "IdTable") -> "IdTable":
        """Return the words of this table and of others."""
        counts = [np.diff(table.bounds) for table in (self, *others)]
        ids = np.concatenate([self.ids, *(table.ids for table in others)])
        return IdTable(ids, bounds_of(np.concatenate(counts)))


Encode = Callable[[pa.Array], IdTable]  # words, as their bytes, to the ids of each


class KnownWords:
    """Words whose ids are kept.

    Args:
        encode: function that encodes words.
        dtype: type of the ids.
    """

    def __init__(self, encode: Encode, dtype: np.dtype[Any]) -> None:
        """Know no words yet."""
        self._encode = encode
        self._words = [pa.array([], pa.large_binary())]  # parts of all
        self._table = IdTable.of([], dtype)  # of these words, in their order
        self._numbers: dict[bytes, int] | None = None  # of these words; None until few are looked up among many

    def places(self, words: pa.Array, others: Integers | None = None) -> tuple[IdTable, Integers]:
        """Return a table of ids, and places in it.

        Args:
            words: words, given by their bytes (W,).
            others: numbers of words that are not to be encoded, and whose places mean nothing; None if all are.

        Returns:
            The table, and the place of each word in it (W,).
        """
        if not len(words):
            return self._table, np.zeros(0, dtype=np.int64)
        known = len(self._table)
        forgets = known > MOST_WORDS or len(self._table.ids) > MOST_IDS
        few = FEW * len(words) < known and not forgets
        places, new = self._looked_up(words) if few else self._numbered(words)
        if forgets:
            met = np.zeros(known, dtype=bool)
            met[places[places < known]] = True
            self._table, self._words = self._table.take(np.flatnonzero(met)), [self._words[0].filter(pa.array(met))]
            numbers = np.cumsum(np.append(met, np.ones(len(new), dtype=bool))) - 1
            places, known = numbers[places], len(self._table)
        if others is not None:
            places, wanted = places.copy(), np.zeros(len(new), dtype=bool)  # Arrow's own cannot be written to
            asked = np.delete(places, others)
            wanted[asked[asked >= known] - known] = True
            new = new.filter(pa.array(wanted))
            beyond = places >= known
            places[beyond] = known + (np.cumsum(wanted) - 1)[places[beyond] - known]
        if len(new):
            self._table = self._table.joined(self._encode(new))
            self._words.append(new)
            if self._numbers is not None:
                self._numbers.update(zip(new.to_pylist(), range(known, known + len(new)), strict=True))
        return self._table, places

    def _numbered(self, words: pa.Array) -> tuple[Integers, pa.Array]:
        """Return the number of each word, and new words, whose numbers follow those of the known ones."""
        # Arrow numbers different words as it meets them, so that those that are known keep their places.
        found = pa.chunked_array([*self._words, words]).dictionary_encode()
        last = found.chunk(found.num_chunks - 1)
        known = len(self._table)
        self._words, self._numbers = [last.dictionary.slice(0, known)], None
        return last.indices.to_numpy(), last.dictionary.slice(known)

    def _looked_up(self, words: pa.Array) -> tuple[Integers, pa.Array]:
        """Do the same for words that are few beside the known ones, which are not numbered again."""
        if self._numbers is None:
            names = chain.from_iterable(part.to_pylist() for part in self._words)
            self._numbers = {name: number for number, name in enumerate(names)}
        found = words.dictionary_encode()
        names = found.dictionary.to_pylist()
        numbers = np.fromiter(map(self._numbers.get, names, repeat(-1)), dtype=np.int64, count=len(names))
        missing = np.flatnonzero(numbers < 0)
        numbers[missing] = len(self._table) + np.arange(len(missing))
        return numbers[found.indices.to_numpy()], found.dictionary.take(pa.array(missing))


def in_slices(encode: Encode, words: pa.Array) -> IdTable:
    """Encode words or texts, as many at a time as memory should hold.

    Args:
        encode: function that encodes them.
        words: words or texts, as large strings or by their bytes.
    """
    bounds, tables, begin = FlatTexts.of(words).bounds, [], 0
    while begin < len(words):
        last = int(np.searchsorted(bounds, bounds[begin] + MOST_BYTES, side="right")) - 1
        end = max(begin + 1, last)
        tables.append(encode(words.slice(begin, end - begin)))
        begin = end
    return tables[0].joined(*tables[1:]) if tables else encode(words)


def strings_of(words: pa.Array) -> list[str]:
    """Return words that are given by their bytes as strings."""
    found: list[str] = words.view(pa.large_string()).to_pylist()
    return found


def id_dtype(size: int) -> np.dtype[Any]:
    """Return the smallest type that holds as many ids: uint16 or uint32."""
    return np.dtype(np.uint16 if size <= 1 << 16 else np.uint32)


def bounds_of(counts: Integers) -> Integers:
    """Convert counts (n,) to bounds (n + 1,), which begin at 0."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
