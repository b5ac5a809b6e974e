"""Words whose ids are kept, so that those that occur again are not encoded again.

Shapes: W words, N tokens of all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spiritlm_pl.corpora.text_files.flat_texts import FlatTexts
from spiritlm_pl.runtime.ragged import ragged_take

Ids: TypeAlias = npt.NDArray[np.unsignedinteger]
Integers: TypeAlias = npt.NDArray[np.int64]
MOST_WORDS = 1 << 18  # words that are kept
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
        self._words = pa.array([], pa.large_binary())
        self._table = IdTable.of([], dtype)  # of these words, in their order

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
        # Arrow numbers different words as it meets them, so that those that are known keep their places.
        found = pa.chunked_array([self._words, words]).dictionary_encode()
        last = found.chunk(found.num_chunks - 1)
        places, different, known = last.indices.to_numpy(), last.dictionary, len(self._words)
        forgets = known > MOST_WORDS or len(self._table.ids) > MOST_IDS  # those that do not occur here
        if forgets or others is not None:
            used = np.arange(len(different)) < (0 if forgets else known)
            used[places if others is None else np.delete(places, others)] = True
            if forgets:
                self._table = self._table.take(np.flatnonzero(used[:known]))
            known = int(used[:known].sum())
            places, different = (np.cumsum(used) - 1)[places], different.filter(pa.array(used))
            self._words = different.slice(0, known)
        if len(different) > known:
            self._table = self._table.joined(*in_slices(self._encode, different.slice(known)))
        self._words = different
        return self._table, places


def in_slices(encode: Encode, words: pa.Array) -> Iterator[IdTable]:
    """Encode words or texts, as many at a time as memory should hold.

    Args:
        encode: function that encodes them.
        words: words or texts, as large strings or by their bytes.

    Yields:
        A table of ids for each slice of the words, in their order.
    """
    bounds = FlatTexts.of(words).bounds
    begin = 0
    while begin < len(words):
        last = int(np.searchsorted(bounds, bounds[begin] + MOST_BYTES, side="right")) - 1
        end = max(begin + 1, last)
        yield encode(words.slice(begin, end - begin))
        begin = end


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
