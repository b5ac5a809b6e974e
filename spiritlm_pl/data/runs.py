"""Sorted runs of documents on disk, from which blocks are made: an external shuffle over flat arrays.

Documents are in the order of a hash of seed and key, their place. Every run is sorted by it, so that the documents of a
range of places stand together in each run, and any range can be made by itself: what comes out does not depend on how
the documents were divided into runs.

Shapes: D documents, W words, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from spiritlm_pl.data.blocks import mapped
from spiritlm_pl.data.documents import Documents
from spiritlm_pl.data.rng import Keys, derive, derive_many
from spiritlm_pl.runtime.provenance import atomic_path, file_sha256

TABLE = ("tokens", "text_counts", "speech_counts", "word_counts", "keys")
BOUNDS = ("word_bounds", "text_spans", "speech_spans")  # so that a range is found without reading the whole run
ARRAYS = (*TABLE, *BOUNDS, "places", "shards")
PLACES = 1 << 64


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
        order = np.lexsort((self.shards, self.table.keys, self.places))
        return Sorted(self.table.take(order), self.places[order], self.shards[order])

    def between(self, low: int, high: int) -> "Sorted":
        """Return the documents whose places are in [low, high)."""
        first, last = _span(self.places, low, high)
        return Sorted(self.table.take(np.arange(first, last)), self.places[first:last], self.shards[first:last])


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
    with atomic_path(path) as temporary:
        save_file(arrays, temporary)
        return file_sha256(temporary)


def read_run(path: Path, low: int = 0, high: int = PLACES) -> Sorted:
    """Read the documents of a run whose places are in [low, high); nothing else of it is read."""
    found = mapped(path, ARRAYS)
    first, last = _span(found["places"], low, high)
    words, text, speech = (found[name][[first, last]].tolist() for name in BOUNDS)
    table = Documents(
        tokens=np.concatenate([found["tokens"][slice(*text)], found["tokens"][slice(*speech)]]),
        text_counts=np.array(found["text_counts"][slice(*words)]),
        speech_counts=np.array(found["speech_counts"][slice(*words)]),
        word_counts=np.array(found["word_counts"][first:last]),
        keys=np.array(found["keys"][first:last]),
    )
    return Sorted(table, np.array(found["places"][first:last]), np.array(found["shards"][first:last]))


def place_bounds(parts: int) -> list[int]:
    """Return the first place of each of so many equal ranges, and the end (`PLACES`)."""
    return [PLACES * part // parts for part in range(parts + 1)]


def _span(places: Keys, low: int, high: int) -> tuple[int, int]:
    first = int(np.searchsorted(places, np.uint64(low)))
    return first, len(places) if high >= PLACES else int(np.searchsorted(places, np.uint64(high)))
