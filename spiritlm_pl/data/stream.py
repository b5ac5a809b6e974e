"""Stream of packed rows as a function: row number -> epoch, block, row of the block -> tokens.

An epoch reads every block once, and every document of a block once, both in an order of the epoch's own; interleaving
is drawn anew. The number of rows of a block is the same in every epoch, so that row q is found without counting through
earlier epochs. Interleaving changes the length of a block a little. Its number of rows therefore allows for the longest
of a few trial visits, and a visit that would not fit is drawn again with the next key.

Shapes: Q row number in the run, R rows of a block, T row length.
"""

from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from spiritlm_pl.data.blocks import Manifest, open_block, read_manifest, token_dtype
from spiritlm_pl.data.documents import Documents, Integers, bounds
from spiritlm_pl.data.interleave import NO_MARKER, Interleaving, Pieces, visit
from spiritlm_pl.data.packing import PackedBlock, Rows, rows_needed, shortest_row
from spiritlm_pl.data.rng import derive, derive_many, name_key
from spiritlm_pl.storage.places import Place, place

RANDOM_LENGTH = ("interleaved", "none")
TRIALS = 8  # visits from which the number of rows of a block is estimated
MANY_BLOCKS = 3  # of more blocks, only the first and last are tried: shuffled blocks are alike
SLACK = 1.01  # factor on the length of blocks that were not tried
REDRAWS = 1_000
OPEN_BLOCKS = 4  # blocks that stay mapped
PACKED_BLOCKS = 2  # visits whose layout is kept


class TokenStream:
    """Rows of one folder of blocks, in an order that depends on the seed alone."""

    def __init__(
        self, folder: str | Place, row_length: int, seed: int, interleaving: Interleaving, name: str = ""
    ) -> None:
        """Read the manifest; blocks are opened when they are needed.

        Args:
            folder: folder of the blocks of one stream, on a disk or in object storage.
            row_length: number of tokens in a row, T.
            seed: seed of the run.
            interleaving: how aligned documents become sequences; documents of text or speech alone ignore it.
            name: name of the stream, on which its random numbers depend besides the seed.

        Raises:
            FileNotFoundError: if the folder has no blocks.
            ValueError: if the row length, the blocks or the mode do not fit together.
        """
        self.folder = place(folder)
        self.manifest: Manifest = read_manifest(self.folder)
        if not self.manifest.blocks:
            raise ValueError(f"blocks must hold documents, but {folder} has none")
        self.row_length = row_length
        self.vocabulary = self.manifest.vocabulary
        if row_length < shortest_row(self.vocabulary):
            raise ValueError(
                f"row_length must be at least {shortest_row(self.vocabulary)}, but is {row_length} instead"
            )
        self.interleaving = (
            interleaving
            if self.manifest.kind == "aligned"
            else Interleaving(mode="text" if self.manifest.kind == "text" else "speech")
        )
        self.interleaving.check(self.vocabulary)
        self.dtype = token_dtype(self.vocabulary)
        self.key = derive(derive(0, seed), name_key(name))
        self._order: tuple[int, Integers, Integers] | None = None
        self._wanted: tuple[int, int] | None = None
        self._opened: OrderedDict[int, Documents] = OrderedDict()
        self._packed: OrderedDict[tuple[int, int], PackedBlock] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a spawned worker, without open blocks."""
        return {**self.__dict__, "_opened": OrderedDict(), "_packed": OrderedDict()}

    @cached_property
    def block_rows(self) -> Integers:
        """Number of rows of each block, the same in every epoch."""
        blocks = self.manifest.blocks
        tried = [0, len(blocks) - 1] if len(blocks) > MANY_BLOCKS else list(range(len(blocks)))
        trials = TRIALS if self.interleaving.mode in RANDOM_LENGTH else 1
        room = {number: max(self._length(number, trial) for trial in range(trials)) for number in tried}
        sizes = [block.text_tokens + block.speech_tokens for block in blocks]
        delimiters = len(self.vocabulary.opening) + (self.vocabulary.end_of_document is not None)  # per document
        fixed = [delimiters * block.documents for block in blocks]
        ratio = max((room[number] - fixed[number]) / sizes[number] for number in tried) * SLACK
        lengths = [room.get(number, int(np.ceil(size * ratio)) + fixed[number]) for number, size in enumerate(sizes)]
        return np.array([max(1, rows_needed(length, self.row_length, self.vocabulary)) for length in lengths])

    @property
    def rows_per_epoch(self) -> int:
        """Number of rows in one pass over the stream."""
        return int(self.block_rows.sum())

    @property
    def filled(self) -> float:
        """Part of the rows that is no padding, where every document has one marker and rows hold all its tokens."""
        markers = len(self.vocabulary.opening) + 1 + (self.vocabulary.end_of_document is not None)
        tokens = self.manifest.num_tokens + markers * self.manifest.num_documents
        return tokens / (self.rows_per_epoch * self.row_length)

    def rows(self, first: int, end: int) -> Rows:
        """Return rows [first, end) of the run.

        Raises:
            FileNotFoundError, ValueError: if a block is missing or damaged.
        """
        parts = []
        while first < end:
            epoch, row = divmod(first, self.rows_per_epoch)
            order, starts = self._epoch(epoch)
            turn = int(np.searchsorted(starts, row, side="right")) - 1
            begin = row - int(starts[turn])
            stop = min(begin + end - first, int(starts[turn + 1] - starts[turn]))
            parts.append(self._visit(epoch, int(order[turn])).rows(begin, stop))
            self._fetch_ahead(epoch, turn)
            first += stop - begin
        return Rows.concatenate(parts)

    def _epoch(self, epoch: int) -> tuple[Integers, Integers]:
        """Return the blocks of an epoch in reading order, and the row at which each starts; one epoch is kept."""
        if self._order is None or self._order[0] != epoch:
            order = self._drawn(epoch)
            self._order = epoch, order, bounds(self.block_rows[order])
        return self._order[1:]

    def _drawn(self, epoch: int) -> Integers:
        draws = derive_many(derive(self.key, epoch), np.arange(len(self.manifest.blocks), dtype=np.uint64))
        return np.argsort(draws, kind="stable")

    def _fetch_ahead(self, epoch: int, turn: int) -> None:
        """Fetch the blocks after one of an epoch in the background, if they are in object storage."""
        if isinstance(self.folder, Path) or self._wanted == (epoch, turn):
            return
        self._wanted = epoch, turn
        ahead = self.folder.store.num_ahead
        following = self._epoch(epoch)[0][turn + 1 : turn + 1 + ahead]
        if len(following) < ahead:
            following = np.concatenate([following, self._drawn(epoch + 1)[: ahead - len(following)]])
        entries = [self.manifest.blocks[number] for number in following]
        files = [(self.folder / one.file).content(one.bytes, one.sha256) for one in entries]
        self.folder.store.want(files, reader=(self.folder, self.key))  # a folder may be read by several streams

    def _visit(self, epoch: int, number: int) -> PackedBlock:
        """Return one visit to one block, laid out in rows; the last few are kept."""
        packed = self._packed.get((epoch, number))
        if packed is None:
            rows = int(self.block_rows[number])
            documents = self._documents(number)
            for attempt in range(REDRAWS):
                pieces = self._pieces(documents, number, epoch, attempt)
                if rows_needed(_length(pieces), self.row_length, self.vocabulary) <= rows:
                    break
            else:
                raise ValueError(
                    f"block {number} of {self.folder} must fit {rows} rows of {self.row_length} tokens "
                    f"in one of {REDRAWS} draws, but does not; build blocks of more documents"
                )
            packed = PackedBlock(documents.tokens, pieces, rows, self.row_length, self.vocabulary)
            self._packed[epoch, number] = packed
            if len(self._packed) > PACKED_BLOCKS:
                self._packed.popitem(last=False)
        else:
            self._packed.move_to_end((epoch, number))
        return packed

    def _pieces(self, documents: Documents, number: int, epoch: int, attempt: int) -> Pieces:
        key = derive(derive(self.key, epoch), len(self.manifest.blocks) + number)
        order = np.argsort(derive_many(key, documents.keys), kind="stable")
        return visit(documents, order, derive(key, attempt), self.interleaving, self.vocabulary)

    def _documents(self, number: int) -> Documents:
        """Return a block, checked and mapped into memory; the last few are kept."""
        documents = self._opened.get(number)
        if documents is None:
            documents = open_block(self.folder, self.manifest.blocks[number])
            self._opened[number] = documents
            if len(self._opened) > OPEN_BLOCKS:
                self._opened.popitem(last=False)
        else:
            self._opened.move_to_end(number)
        return documents

    def _length(self, number: int, trial: int) -> int:
        """Return the number of tokens of a trial visit, which takes an epoch below 0, since no run reads those."""
        return _length(self._pieces(self._documents(number), number, -1 - trial, 0))


def _length(pieces: Pieces) -> int:
    return int(pieces.length.sum()) + int((pieces.marker != NO_MARKER).sum())
