"""A choice of cuts from several manifests, which are parsed when they are looked up.

Shapes: N chosen cuts.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from lhotse import MonoCut

from spiritlm_pl.corpora.cut_index import CutIndex
from spiritlm_pl.runtime.names import Names, Rows, repeated


class Cuts(Sequence[MonoCut]):
    """Cuts by their places in several manifests, read one after the other.

    Args:
        sources: indices of the manifests.
        rows: row of each cut (N,), counted over all sources; None for all cuts.
    """

    def __init__(self, sources: Sequence[CutIndex], rows: Rows | None = None) -> None:
        """Keep the rows."""
        self.sources = tuple(sources)
        self._starts = np.cumsum([0, *(len(source) for source in sources)])
        self.rows: Rows = np.arange(self._starts[-1]) if rows is None else rows

    def __len__(self) -> int:
        """Return the number of cuts."""
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        """Parse the cut of a place, or choose the cuts of a slice or of an array of places."""
        if isinstance(place, slice | np.ndarray):
            return Cuts(self.sources, self.rows[place])
        source, row = self._find(int(self.rows[place]))
        return source[row]

    def _find(self, row: int) -> tuple[CutIndex, int]:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self.sources[number], row - int(self._starts[number])

    def _members(self) -> list[tuple[Rows, CutIndex, Rows]]:
        """Return the places of the cuts of each source that has some, the source, and their rows in it."""
        which = np.searchsorted(self._starts, self.rows, side="right") - 1
        found = []
        for number, source in enumerate(self.sources):
            places = np.flatnonzero(which == number)
            if len(places):
                found.append((places, source, self.rows[places] - self._starts[number]))
        return found

    @property
    def durations(self) -> npt.NDArray[np.float64]:
        """Duration of each cut in seconds (N,)."""
        found = np.empty(len(self))
        for places, source, rows in self._members():
            found[places] = source.durations[rows]
        return found

    @property
    def ids(self) -> list[str]:
        """Ids of the cuts."""
        return [source.names[row] for source, row in map(self._find, self.rows.tolist())]

    def digests(self) -> bytes:
        """Return the hashes of what is said in the cuts, one after the other."""
        found = np.empty((len(self), self.sources[0].digests.shape[1]), np.uint8) if len(self) else np.empty((0, 0))
        for places, source, rows in self._members():
            found[places] = source.digests[rows]
        return found.tobytes()

    def counts(self, kind: Literal["speaker", "style"]) -> Counter[str]:
        """Return the number of cuts of each speaker or style by its name, which is empty where a cut has none."""
        found: Counter[str] = Counter()
        for _, source, rows in self._members():
            numbers, names = _numbers(source, kind)
            counts = np.bincount(numbers[rows], minlength=len(names))
            found.update({names[place]: int(counts[place]) for place in np.flatnonzero(counts)})
        return found

    def having(self, kind: Literal["speaker", "style"]) -> npt.NDArray[np.bool_]:
        """Return which cuts have a speaker or style (N,)."""
        found = np.zeros(len(self), dtype=np.bool_)
        for places, source, rows in self._members():
            numbers, names = _numbers(source, kind)
            found[places] = np.array([bool(name) for name in names], dtype=np.bool_)[numbers[rows]]
        return found

    def rows_in(self, names: Names) -> Rows:
        """Return the row of each cut's id in a table of names (N,); -1 where it is missing."""
        found = np.full(len(self), -1, dtype=np.int64)
        for places, source, rows in self._members():
            found[places] = names.rows_of(source.names, rows)
        return found

    def find(self, name: str) -> int | None:
        """Return the row of an id, counted over all sources; None if no source has it."""
        for start, source in zip(self._starts.tolist(), self.sources, strict=False):
            row = source.names.find(name)
            if row is not None:
                return int(start) + row
        return None


def _numbers(source: CutIndex, kind: str) -> tuple[npt.NDArray[np.int32], list[str]]:
    return (source.speakers, source.speaker_names) if kind == "speaker" else (source.styles, source.style_names)


def joined(choices: Sequence[Cuts]) -> Cuts:
    """Join choices from the same manifests, one after the other."""
    assert all(choice.sources == choices[0].sources for choice in choices)
    return Cuts(choices[0].sources, np.concatenate([choice.rows for choice in choices]))


def open_cuts(folders: Sequence[str | Path], split: str) -> list[CutIndex]:
    """Open the manifests of one split of several corpora.

    Raises:
        FileNotFoundError: if a folder is no corpus, or an unfinished one.
        ValueError: if a manifest is damaged or there is no split of that name.
    """
    return [CutIndex(folder, split) for folder in folders]


def check_unique(sources: Sequence[CutIndex], places: Sequence[str]) -> None:
    """Check that no two cuts have the same id.

    Args:
        sources: indices of the manifests.
        places: where each of them is, for the message.

    Raises:
        ValueError: if an id occurs twice.
    """
    seen: dict[str, str] = {}
    for table, row in repeated([source.names for source in sources]):
        name = sources[table].names[row]
        if name in seen:
            raise ValueError(
                f"ids of utterances must be unique over all corpora and splits, but {name!r} is in {seen[name]} and "
                f"in {places[table]}"
            )
        seen[name] = places[table]
