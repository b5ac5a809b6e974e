"""Units of tokenised corpora by the ids of their utterances, in flat files that all processes share.

The files (`spiritlm_pl.runtime.flat_index`) are made once from the Parquet parts, beside them, and made again when
these change: a part holds a thousand utterances, which would have to be read for each one of a shuffled batch.

Shapes: N utterances, R runs of equal units, T frames, K codebooks, F codes of a further stream.
"""

import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spiritlm_pl.corpora.cuts import Cuts
from spiritlm_pl.data.corpus_store import UnitUtterance
from spiritlm_pl.data.unit_corpus import TOKENIZER, UnitCorpus, common_layout, tokenizer_of, with_split
from spiritlm_pl.runtime.checksums import check_size
from spiritlm_pl.runtime.flat_index import RECORDS, IndexWriter, from_json_array, json_array, open_index
from spiritlm_pl.runtime.names import Names, NamesWriter, Rows
from spiritlm_pl.streams import SpeechLayout, plural

FORMAT = 2
CODES = 1 << 16  # numbers that a code can have
U16: np.dtype[Any] = np.dtype(np.uint16)
U32: np.dtype[Any] = np.dtype(np.uint32)


class _OneCorpus:
    """Units of one split of a tokenised corpus."""

    def __init__(self, corpus: UnitCorpus) -> None:
        """Open the index, which is made first where it is missing or stale."""
        _check_sizes(corpus)
        state = f"units {FORMAT} {corpus.manifest_sha256}"
        index = open_index(corpus.folder, "units", state, partial(_build, corpus))
        self.layout, self._index, arrays = corpus.layout, index, index.arrays
        self.num_frames = arrays["num_frames"]
        self.corpora = arrays["corpora"]
        self.corpus_names: list[str] = from_json_array(arrays["corpus_names"])
        self.names = Names(arrays)
        self.counts = {stream.name: arrays[f"count_{stream.name}"] for stream in corpus.layout.streams[1:]}

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self.num_frames)

    def __getitem__(self, row: int) -> UnitUtterance:
        """Read the utterance of a row, without its text and its words."""
        arrays = self._index.arrays
        bounds, first = arrays["record_bounds"], self.layout.first
        raw = self._index.record(int(bounds[row]), int(bounds[row + 1]), int(arrays["record_crcs"][row]))
        sizes = arrays["sizes"].reshape(len(self), -1)[row].tolist()
        values, place = [], 0
        dtypes: list[np.dtype[Any]] = [U16, U32, *[U16] * (len(sizes) - 2)]
        for size, dtype in zip(sizes, dtypes, strict=True):
            values.append(np.frombuffer(raw, dtype, size, place))
            place += size * dtype.itemsize
        codes = {
            stream.name: _by_codebook(found, stream.num_codebooks)
            for stream, found in zip(self.layout.streams[1:], values[2:], strict=True)
        }
        return UnitUtterance(
            id=self.names[row],
            corpus=self.corpus_names[self.corpora[row]],
            units=_by_codebook(values[0], first.num_codebooks),
            unit_starts=values[1],
            num_frames=int(self.num_frames[row]),
            codes=codes,
        )


def _check_sizes(corpus: UnitCorpus) -> None:
    """Check that all parts are there; the contents of each are checked when the index is made."""
    if isinstance(corpus.folder, Path) and corpus.verify:
        for file in corpus.manifest["files"]:
            check_size(corpus.folder / file["name"], file["bytes"])


def _by_codebook(codes: npt.NDArray[Any], num_codebooks: int) -> npt.NDArray[Any]:
    return codes if num_codebooks == 1 else codes.reshape(-1, num_codebooks)


def _build(corpus: UnitCorpus, writer: IndexWriter) -> None:
    """Write the arrays of all parts, of which one is in memory at a time."""
    names, end = NamesWriter(writer), 0
    known: dict[str, int] = {}
    streams = corpus.layout.streams[1:]
    counts = np.zeros((len(streams), CODES), np.int64)
    for name, dtype in (("num_frames", U32), ("corpora", np.int32), ("sizes", U32), ("record_crcs", U32)):
        writer.append(name, np.empty(0, dtype))
    writer.append(RECORDS, b"")
    writer.append("record_bounds", np.zeros(1, np.int64))
    for part in range(len(corpus.manifest["files"])):
        corpus.fetch_ahead(part)
        table = corpus.table(part)
        if not table.num_rows:
            continue
        names.append(table["id"].to_pylist())
        writer.append("num_frames", table["num_frames"].to_numpy().astype(U32))
        numbers = [known.setdefault(name, len(known)) for name in table["corpus"].to_pylist()]
        writer.append("corpora", np.array(numbers, np.int32))
        columns = [
            _column(table, name, dtype)
            for name, dtype in [("units", U16), ("unit_starts", U32), *((plural(s.name), U16) for s in streams)]
        ]
        writer.append("sizes", np.stack([np.diff(bounds) for _, bounds in columns], axis=1).reshape(-1).astype(U32))
        for count, (values, bounds) in zip(counts, columns[2:], strict=True):
            count += np.bincount(values[bounds[0] : bounds[-1]], minlength=CODES)
        records = [
            b"".join(values[bounds[row] : bounds[row + 1]].tobytes() for values, bounds in columns)
            for row in range(table.num_rows)
        ]
        writer.append(RECORDS, b"".join(records))
        ends = end + np.cumsum([len(record) for record in records], dtype=np.int64)
        end = int(ends[-1])
        writer.append("record_bounds", ends)
        writer.append("record_crcs", np.array([zlib.crc32(record) for record in records], U32))
    names.finish()
    writer.append("corpus_names", json_array(list(known)))
    for stream, count in zip(streams, counts, strict=True):
        writer.append(f"count_{stream.name}", count)


def _column(table: Any, name: str, dtype: np.dtype[Any]) -> tuple[npt.NDArray[Any], Rows]:
    """Return the values of a column of lists one after the other, and the bounds of the rows in them."""
    column = table[name].combine_chunks()
    bounds = column.offsets.to_numpy().astype(np.int64)
    return column.values.to_numpy(zero_copy_only=False).astype(dtype), bounds


class FlatUnits:
    """Units of one split of several tokenised corpora; of utterances in several of them, the last one's.

    Corpora without held-out utterances are left out of such a split, but not all of them can be.

    Attributes:
        layout: streams of the tokenizer.
        tokenizer_sha256: fingerprint of the tokenizer; None where it is not recorded.

    Args:
        folders: folders of the tokenised corpora.
        split: name of the split: "train", "validation" or "test".

    Raises:
        FileNotFoundError: if a folder has no finished split of that name, or a part is missing.
        ValueError: if the folders come from tokenizers of different rates, sizes or streams, or a part is damaged.
    """

    def __init__(self, folders: Sequence[str], split: str) -> None:
        """Open the files of all corpora."""
        corpora = with_split(folders, split) or [UnitCorpus(folder, split) for folder in folders]
        self.layout: SpeechLayout = common_layout(corpora)
        self.tokenizer_sha256 = tokenizer_of(corpora).get(TOKENIZER)
        self._members = [_OneCorpus(corpus) for corpus in corpora]
        self._starts = np.cumsum([0, *map(len, self._members)])

    def rows_of(self, cuts: Cuts) -> Rows:
        """Return the row of each cut (N,), counted over all corpora; -1 where it has no units."""
        found = np.full(len(cuts), -1, dtype=np.int64)
        for member, start in zip(self._members, self._starts, strict=False):
            rows = cuts.rows_in(member.names)
            found = np.where(rows >= 0, rows + start, found)
        return found

    def __getitem__(self, name: str) -> UnitUtterance:
        """Read the utterance of an id, without its text and its words.

        Raises:
            KeyError: if it has no units.
        """
        for member in reversed(self._members):
            row = member.names.find(name)
            if row is not None:
                return member[row]
        raise KeyError(name)

    def at(self, row: int) -> UnitUtterance:
        """Read the utterance of a row, without its text and its words."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._members[number][row - int(self._starts[number])]

    def num_frames(self, rows: Rows) -> Rows:
        """Return the number of frames of each of the rows (N,)."""
        found = np.concatenate([np.empty(0, U32), *(member.num_frames for member in self._members)])
        return found[rows].astype(np.int64)

    def code_counts(self, rows: Rows, stream: str) -> npt.NDArray[np.int64]:
        """Count how often each code of a further stream is in some rows, each of which is given once.

        Returns:
            Counts of the codes from 0 (65536,).
        """
        chosen = np.zeros(self._starts[-1], dtype=np.bool_)
        chosen[rows] = True
        if 2 * len(rows) <= len(chosen):
            return self._counted(np.flatnonzero(chosen), stream)
        total: npt.NDArray[np.int64] = np.sum([member.counts[stream] for member in self._members], axis=0)
        return total - self._counted(np.flatnonzero(~chosen), stream)

    def _counted(self, rows: Rows, stream: str) -> npt.NDArray[np.int64]:
        counts = np.zeros(CODES, np.int64)
        for row in rows.tolist():
            np.add.at(counts, self.at(row).codes[stream].reshape(-1), 1)
        return counts

    def by_corpus(self, rows: Rows) -> tuple[list[str], Rows]:
        """Return the names of corpora, and the number of the corpus of each of the rows (N,)."""
        names: dict[str, int] = {}
        numbers = [np.empty(0, np.int64)]
        for member in self._members:
            own = np.array([names.setdefault(name, len(names)) for name in member.corpus_names], np.int64)
            numbers.append(own[member.corpora] if len(own) else np.empty(0, np.int64))
        return list(names), np.concatenate(numbers)[rows]
