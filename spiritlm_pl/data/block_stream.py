"""Stream of packed rows as a function: row number -> epoch, block, row of the block -> tokens.

An epoch reads every block once, in an order of its own. The number of rows of a block is the same in every epoch, so
that row q is found without counting through earlier epochs. `stream` and `conversation_stream` say how a visited block
becomes rows.

Shapes: Q row number in the run, R rows of a block, T row length.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np

from spiritlm_pl.data.blocks import BlockEntry, Manifest, read_manifest, token_dtype
from spiritlm_pl.data.documents import Integers, bounds
from spiritlm_pl.data.packing import Rows, shortest_row
from spiritlm_pl.data.rng import derive, derive_many, name_key
from spiritlm_pl.storage.places import Place, place

OPEN_BLOCKS = 4  # blocks that stay mapped
PACKED_BLOCKS = 2  # visits whose layout is kept


class Visit(Protocol):
    """A block as it is read in one epoch."""

    def rows(self, first: int, end: int) -> Rows:
        """Return rows [first, end) of the block."""


Block = TypeVar("Block")


class BlockStream(ABC, Generic[Block]):
    """Rows of one folder of blocks, in an order that depends on the seed alone."""

    def __init__(self, folder: str | Place, row_length: int, seed: int, name: str = "") -> None:
        """Read the manifest; blocks are opened when they are needed.

        Args:
            folder: folder of the blocks of one stream, on a disk or in object storage.
            row_length: number of tokens in a row, T.
            seed: seed of the run.
            name: name of the stream, on which its random numbers depend besides the seed.

        Raises:
            FileNotFoundError: if the folder has no blocks.
            ValueError: if the row length and the blocks do not fit together.
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
        self.dtype = token_dtype(self.vocabulary)
        self.key = derive(derive(0, seed), name_key(name))
        self._order: tuple[int, Integers, Integers] | None = None
        self._wanted: tuple[int, int] | None = None
        self._opened: OrderedDict[int, Block] = OrderedDict()
        self._visits: OrderedDict[tuple[int, int], Visit] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a spawned worker, without open blocks."""
        return {**self.__dict__, "_opened": OrderedDict(), "_visits": OrderedDict()}

    @cached_property
    @abstractmethod
    def block_rows(self) -> Integers:
        """Number of rows of each block, the same in every epoch."""

    @property
    @abstractmethod
    def filled(self) -> float:
        """Part of the rows that is no padding."""

    @abstractmethod
    def _open(self, entry: BlockEntry) -> Block:
        """Check a block and map it into memory."""

    @abstractmethod
    def _lay_out(self, epoch: int, number: int) -> Visit:
        """Lay out one visit to one block in rows."""

    @property
    def rows_per_epoch(self) -> int:
        """Number of rows in one pass over the stream."""
        return int(self.block_rows.sum())

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

    def _visit_key(self, epoch: int, number: int) -> int:
        """Return the key of the random choices within one visit to one block."""
        return derive(derive(self.key, epoch), len(self.manifest.blocks) + number)

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

    def _visit(self, epoch: int, number: int) -> Visit:
        """Return one visit to one block, laid out in rows; the last few are kept."""
        found = self._visits.get((epoch, number))
        if found is None:
            found = self._visits[epoch, number] = self._lay_out(epoch, number)
            if len(self._visits) > PACKED_BLOCKS:
                self._visits.popitem(last=False)
        else:
            self._visits.move_to_end((epoch, number))
        return found

    def _block(self, number: int) -> Block:
        """Return a block, checked and mapped into memory; the last few are kept."""
        found = self._opened.get(number)
        if found is None:
            found = self._opened[number] = self._open(self.manifest.blocks[number])
            if len(self._opened) > OPEN_BLOCKS:
                self._opened.popitem(last=False)
        else:
            self._opened.move_to_end(number)
        return found


AnyStream: TypeAlias = BlockStream[Any]
