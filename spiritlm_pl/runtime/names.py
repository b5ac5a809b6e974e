"""Names of millions of utterances as flat arrays, which are found by their hashes.

Shapes: N names.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spiritlm_pl.runtime.flat_index import IndexWriter

Rows = npt.NDArray[np.int64]
PIECE = 1 << 19  # names that are compared at once


def name_hash(name: str) -> int:
    """Return a hash of 64 bits, the same in every process."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class NamesWriter:
    """Writer of names into an index, of which they become the arrays `names`, `name_bounds` and three more."""

    def __init__(self, writer: IndexWriter) -> None:
        """Begin with no names."""
        self._writer = writer
        self._end = 0
        self._keys: list[npt.NDArray[np.uint64]] = []
        writer.append("names", b"")
        writer.append("name_bounds", np.zeros(1, np.int64))

    def append(self, names: Sequence[str]) -> None:
        """Append names."""
        raw = [name.encode("utf-8", "surrogatepass") for name in names]
        self._writer.append("names", b"".join(raw))
        ends = self._end + np.cumsum([len(one) for one in raw], dtype=np.int64)
        self._end = int(ends[-1]) if len(ends) else self._end
        self._writer.append("name_bounds", ends)
        self._keys.append(np.array([name_hash(name) for name in names], dtype=np.uint64))

    def finish(self) -> None:
        """Append what finds the names."""
        keys = np.concatenate([np.empty(0, np.uint64), *self._keys])
        order = np.argsort(keys, kind="stable")
        self._writer.append("keys", keys)
        self._writer.append("sorted_keys", keys[order])
        self._writer.append("order", order.astype(np.uint32))


class Names(Sequence[str]):
    """Names of an index in the order of its rows.

    Attributes:
        keys: hash of each name (N,).

    Args:
        arrays: arrays of an index that a `NamesWriter` wrote into.
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take the arrays."""
        self._raw, self._bounds = arrays["names"], arrays["name_bounds"]
        self.keys, self._sorted, self._order = arrays["keys"], arrays["sorted_keys"], arrays["order"]

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self.keys)

    def __getitem__(self, row: Any) -> Any:
        """Return the name of a row, or the names of a slice."""
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):
            raise IndexError(f"row must be in [0, {len(self)}), but is {row} instead")
        raw = self._raw[int(self._bounds[row]) : int(self._bounds[row + 1])]
        return raw.tobytes().decode("utf-8", "surrogatepass")

    def find(self, name: str) -> int | None:
        """Return the row of a name; None if it is not there."""
        key = np.uint64(name_hash(name))
        place = int(np.searchsorted(self._sorted, key))
        while place < len(self) and self._sorted[place] == key:
            row = int(self._order[place])
            if self[row] == name:
                return row
            place += 1
        return None

    def rows_of(self, other: "Names", rows: Rows) -> Rows:
        """Return the rows here of the names that another table has in some rows (N,); -1 where a name is missing.

        Args:
            other: table whose names are looked up.
            rows: rows of that table (N,).
        """
        pieces = [self._piece(other, rows[start : start + PIECE]) for start in range(0, len(rows), PIECE)]
        return np.concatenate([np.empty(0, np.int64), *pieces])

    def _piece(self, other: "Names", rows: Rows) -> Rows:
        if not len(self):
            return np.full(len(rows), -1, dtype=np.int64)
        keys = other.keys[rows]
        places = np.minimum(np.searchsorted(self._sorted, keys), len(self) - 1)
        found = np.where(self._sorted[places] == keys, self._order[places].astype(np.int64), -1)
        known = np.flatnonzero(found >= 0)
        same = pc.equal(self._arrow(found[known]), other._arrow(rows[known])).to_numpy(zero_copy_only=False)
        for place in known[~same.astype(bool)]:  # two names of equal hashes
            row = self.find(other[int(rows[place])])
            found[place] = -1 if row is None else row
        return found

    def _arrow(self, rows: Rows) -> pa.Array:
        """Return the names of some rows."""
        buffers = [None, pa.py_buffer(self._bounds), pa.py_buffer(self._raw)]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(self), buffers).take(pa.array(rows))


def repeated(tables: Iterable[Names]) -> list[tuple[int, int]]:
    """Return the table and row of each name whose hash occurs more than once in all tables, in their order."""
    members = list(tables)
    keys = np.concatenate([np.empty(0, np.uint64), *(table.keys for table in members)])
    ordered = np.sort(keys)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return []
    starts = np.cumsum([0, *(len(table) for table in members)])
    places = np.flatnonzero(np.isin(keys, twice))
    which = np.searchsorted(starts, places, side="right") - 1
    return [(int(table), int(place - starts[table])) for table, place in zip(which, places, strict=True)]
