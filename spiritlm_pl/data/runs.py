"""Sorted runs of documents on disk, from which blocks are made: an external shuffle over flat arrays.

Documents are in the order of a hash of seed and key, their place. Every run is sorted by it, so that the documents of a
range of places stand together in each run, and any range can be made by itself: what comes out does not depend on how
the documents were divided into runs.

Shapes: D documents, W words, N tokens.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spiritlm_pl.data.blocks import DTYPES
from spiritlm_pl.data.documents import Documents
from spiritlm_pl.data.rng import Keys, derive, derive_many
from spiritlm_pl.runtime.array_files import save_arrays
from spiritlm_pl.runtime.checksums import values_of
from spiritlm_pl.runtime.provenance import atomic_path, file_sha256

TABLE = ("tokens", "text_counts", "speech_counts", "word_counts", "keys")
BOUNDS = ("word_bounds", "text_spans", "speech_spans")  # so that a range is found without reading the whole run
ARRAYS = (*TABLE, *BOUNDS, "places", "shards")
PLACES = 1 << 64
SPREAD = 4  # times the root of their number: eight standard deviations of the number of documents below a place


@dataclass(frozen=True, eq=False)
class Sorted:
    """Documents in their order.

    Attributes:
        table: the documents.
        places: place of each document (D,), uint64, ascending.
        shards: number of the input that each document came from (D,), which orders documents of equal keys.
    """

    table: Documents
    places: Keys
    shards: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, table: Documents, shards: npt.NDArray[np.uint32], seed: int) -> "Sorted":
        """Sort documents by their places; those of one shard and equal keys keep their order."""
        places = derive_many(derive(0, seed), table.keys)
        return cls(table, places, shards)._ordered()

    @classmethod
    def merge(cls, parts: Sequence["Sorted"]) -> "Sorted":
        """Merge sorted documents of different shards; there must be at least one part."""
        table = Documents.concatenate([part.table for part in parts])
        places, shards = (np.concatenate([getattr(part, name) for part in parts]) for name in ("places", "shards"))
        return cls(table, places, shards)._ordered()

    def _ordered(self) -> "Sorted":
        order = np.argsort(self.places)
        places = self.places[order]
        if (places[1:] == places[:-1]).any():  # only then anything else counts, which takes longer
            order = np.lexsort((self.shards, self.table.keys, self.places))
        return Sorted(self.table.take(order), self.places[order], self.shards[order])

    def between(self, low: int, high: int) -> "Sorted":
        """Return the documents whose places are in [low, high)."""
        first, last = _span(self.places, low, high)
        return Sorted(self.table.between(first, last), self.places[first:last], self.shards[first:last])


def write_run(path: Path, documents: Sorted) -> str:
    """Write documents as a run; return the SHA-256 of the file."""
    table = documents.table
    words = table.word_bounds
    arrays: dict[str, Any] = {name: getattr(table, name) for name in TABLE}
    arrays |= {
        "word_bounds": words,
        "text_spans": table.text_bounds[words],
        "speech_spans": table.speech_bounds[words],
        "places": documents.places,
        "shards": documents.shards,
    }
    with atomic_path(path, synced=False) as temporary:  # an interrupted build checks it before it goes on
        save_arrays(arrays, temporary)
        return file_sha256(temporary)


class Run:
    """Run on disk, of which the documents of any range of places can be read by themselves.

    Of a large corpus there are many thousands of runs, and every range is read from each of them. So the header is read
    once, no file is held open, and a range is found at once, since places are hashes and so lie evenly.

    Args:
        path: path of the file.
    """

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is no run.
        """
        self.path = path
        with path.open("rb") as file, values_of(path):
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
            self._places = {
                name: (np.dtype(DTYPES[header[name]["dtype"]]), 8 + size + header[name]["data_offsets"][0])
                for name in ARRAYS
            }
            (self._documents,) = header["places"]["shape"]

    def between(self, low: int = 0, high: int = PLACES) -> Sorted:
        """Read the documents whose places are in [low, high).

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is shorter than its header says.
        """
        with self.path.open("rb", buffering=0) as file:
            first, last, places = self._found(file, low, high)
            words, text, speech = (self._read(file, name, first, last + 1)[[0, -1]].tolist() for name in BOUNDS)
            table = Documents(
                tokens=np.concatenate([self._read(file, "tokens", *span) for span in (text, speech)]),
                text_counts=self._read(file, "text_counts", *words),
                speech_counts=self._read(file, "speech_counts", *words),
                word_counts=self._read(file, "word_counts", first, last),
                keys=self._read(file, "keys", first, last),
            )
            return Sorted(table, places, self._read(file, "shards", first, last))

    def _found(self, file: FileIO, low: int, high: int) -> tuple[int, int, Keys]:
        """Return the first document of a range, the one after its last, and the places of the range."""
        number = self._documents
        around = SPREAD * (isqrt(number) + 1)
        begin, end = max(0, number * low // PLACES - around), min(number, number * high // PLACES + around)
        places = self._read(file, "places", begin, end)
        first, last = _span(places, low, high)
        if (begin and not first) or (end < number and last == len(places)):  # they do not lie evenly
            begin, places = 0, self._read(file, "places", 0, number)
            first, last = _span(places, low, high)
        return begin + first, begin + last, places[first:last]

    def _read(self, file: FileIO, name: str, begin: int, end: int) -> Any:
        """Read elements [begin, end) of an array."""
        dtype, place = self._places[name]
        array = np.empty(end - begin, dtype)
        file.seek(place + begin * dtype.itemsize)
        if array.nbytes and file.readinto(array.data) != array.nbytes:
            raise ValueError(f"{self.path} must be as it was written, but is cut off: start the build again")
        return array


def place_bounds(parts: int) -> list[int]:
    """Return the first place of each of so many equal ranges, and the end (`PLACES`)."""
    return [PLACES * part // parts for part in range(parts + 1)]


def _span(places: Keys, low: int, high: int) -> tuple[int, int]:
    first = int(np.searchsorted(places, np.uint64(low)))
    return first, len(places) if high >= PLACES else int(np.searchsorted(places, np.uint64(high)))
