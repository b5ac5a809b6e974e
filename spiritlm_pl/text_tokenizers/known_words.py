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

from spiritlm_pl.runtime.ragged import ragged_take

Ids: TypeAlias = npt.NDArray[np.unsignedinteger]
Integers: TypeAlias = npt.NDArray[np.int64]
MOST_WORDS = 1 << 18  # words that are kept
MOST_IDS = 1 << 22  # ids of words that are kept


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

    def joined(self, other: "IdTable") -> "IdTable":
        """Return the words of both."""
        bounds = np.concatenate([self.bounds, other.bounds[1:] + len(self.ids)])
        return IdTable(np.concatenate([self.ids, other.ids]), bounds)


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
        self._places: dict[bytes, int] = {}  # places of words in the table
        self._table = IdTable.of([], dtype)

    def places(self, words: pa.Array) -> tuple[IdTable, Integers]:
        """Return a table of ids, and the places in it of different words, given by their bytes."""
        names = words.to_pylist()
        places = np.fromiter(map(self._places.get, names, repeat(-1)), dtype=np.int64, count=len(names))
        if (
            len(self._places) > MOST_WORDS or len(self._table.ids) > MOST_IDS
        ):  # those that do not occur here are forgotten
            kept = np.flatnonzero(places >= 0)
            self._table = self._table.take(places[kept])
            places[kept] = np.arange(len(kept))
            self._places = dict(zip(map(names.__getitem__, kept.tolist()), range(len(kept)), strict=True))
        if len(missing := np.flatnonzero(places < 0)):
            places[missing] = np.arange(len(self._table), len(self._table) + len(missing))
            found = map(names.__getitem__, missing.tolist())
            self._places.update(zip(found, places[missing].tolist(), strict=True))
            self._table = self._table.joined(self._encode(words.take(pa.array(missing))))
        return self._table, places


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
