"""Results of an alignment in a file, line by line, of which only hashes and places are kept in memory.

A line begins with the CRC-32 of the rest of it, so that one that was damaged is left out, and its cut aligned anew.
"""

import json
import os
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.word_times import AlignedWord
from spiritlm_pl.runtime.names import name_hash


@dataclass(frozen=True)
class Outcome:
    """Result of aligning one cut: its times, or the reason why there are none.

    Attributes:
        id: id of the cut.
        key: hash of the aligner's settings, the text and the duration, by which a stored result is known to be valid.
        words: words with times in seconds from the start of the cut.
        phones: phones with times in seconds from the start of the cut.
        reason: reason why the cut could not be aligned; None if it was.
        source: file or entry that the times come from; None for times found in audio.
    """

    id: str
    key: str
    words: Sequence[Word] = ()
    phones: Sequence[Word] = ()
    reason: str | None = None
    source: str | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Outcome":
        """Make an outcome from the dictionary that `asdict` made of it."""
        items = {kind: [AlignedWord(**word) for word in values[kind]] for kind in ("words", "phones")}
        return cls(values["id"], values["key"], reason=values["reason"], source=values["source"], **items)


def _parsed(line: bytes) -> Outcome | None:
    """Read a line; None for one that is cut short or damaged, or that an earlier version wrote, without a CRC."""
    crc, _, values = line.removesuffix(b"\n").partition(b" ")
    try:
        if int(crc, 16) != zlib.crc32(values):
            return None
        return Outcome.from_dict(json.loads(values.decode("utf-8", "surrogatepass")))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


class OutcomeFile:
    """File of outcomes, to which new ones are appended.

    Args:
        path: path of the file, which is made if it is missing.
        earlier: whether the outcomes that it holds already are used.
    """

    def __init__(self, path: Path, earlier: bool) -> None:
        """Read the places of the outcomes; a line that was cut short by an interrupt is left out."""
        self._file: BinaryIO = path.open("a+b")
        self._hashes, self._places, self._sources = array("Q"), array("q"), array("Q")
        self._order: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._sorted: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._of_source: dict[str, list[str]] = {}  # ids of the outcomes of a source, where there are several
        if earlier:
            self._file.seek(0)
            place = 0
            for line in self._file:
                if (outcome := _parsed(line)) is not None:
                    self._note(outcome, place)
                place += len(line)
        self._end = self._file.seek(0, os.SEEK_END) + self._file.write(b"\n")
        self._sort()

    def __enter__(self) -> "OutcomeFile":
        """Return the file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def _note(self, outcome: Outcome, place: int) -> None:
        self._hashes.append(name_hash(f"{outcome.id}\0{outcome.key}"))
        self._places.append(place)
        self._sources.append(0 if outcome.source is None else name_hash(outcome.source))

    def _sort(self) -> None:
        hashes = np.array(self._hashes, dtype=np.uint64)
        self._order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]

    def append(self, outcome: Outcome) -> None:
        """Append an outcome, which can be looked up after `finish`."""
        values = json.dumps(asdict(outcome), ensure_ascii=False).encode("utf-8", "surrogatepass")
        line = b"%08x %s\n" % (zlib.crc32(values), values)
        self._note(outcome, self._end)
        self._end += self._file.write(line)
        self._file.flush()

    def finish(self) -> None:
        """Make all outcomes known, and find the sources that several of them share."""
        self._sort()
        sources = np.array(self._sources, dtype=np.uint64)
        values, counts = np.unique(sources[sources != 0], return_counts=True)
        several = values[counts > 1]
        found: dict[int, dict[str, list[str]]] = {}
        for row in np.flatnonzero(np.isin(sources, several)).tolist():
            outcome = self._read(self._places[row])
            assert outcome.source is not None
            ids = found.setdefault(int(sources[row]), {}).setdefault(outcome.source, [])
            if outcome.id not in ids:
                ids.append(outcome.id)
        self._of_source = {source: ids for one in found.values() for source, ids in one.items() if len(ids) > 1}

    def _read(self, place: int) -> Outcome:
        self._file.seek(place)
        found = _parsed(self._file.readline())
        if found is None:
            raise ValueError(f"{self._file.name} must be as it was written, but has changed meanwhile: start again")
        return found

    def find(self, cut_id: str, key: str) -> Outcome | None:
        """Return the last outcome of a cut; None if there is none.

        Args:
            cut_id: id of the cut.
            key: hash of the aligner's settings, the text and the duration.
        """
        wanted = np.uint64(name_hash(f"{cut_id}\0{key}"))
        place = int(np.searchsorted(self._sorted, wanted, side="right")) - 1
        while place >= 0 and self._sorted[place] == wanted:
            outcome = self._read(self._places[int(self._order[place])])
            if (outcome.id, outcome.key) == (cut_id, key):
                return self._of_one_source(outcome)
            place -= 1
        return None

    def _of_one_source(self, outcome: Outcome) -> Outcome:
        """Return an outcome, or an error if it shares its source, whose times can be of only one of the cuts."""
        ids = self._of_source.get(outcome.source or "", [])
        if not ids:
            return outcome
        reason = f"times must be of one utterance, but {outcome.source} fits {', '.join(ids[:3])}"
        return Outcome(outcome.id, outcome.key, reason=reason)
