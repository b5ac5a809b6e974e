"""Stream of packed rows of conversations, which stay whole.

Conversations of a block share rows so that little is padding: from the longest on, each goes into the fullest row that
has room for it. The rows of a block are the same in every epoch, and their order is the epoch's own; since attention
sees one conversation at a time, it makes no difference which ones share a row. A conversation that is longer than a row
ends with the last turn that fits; one of which nothing is left to learn is left out.

Shapes: D conversations, R rows of a block, T row length.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spiritlm_pl.data.block_stream import BlockStream
from spiritlm_pl.data.blocks import BlockEntry
from spiritlm_pl.data.conversations import Conversations, open_conversations
from spiritlm_pl.data.documents import Integers, bounds
from spiritlm_pl.data.packing import PADDING_ID, Rows
from spiritlm_pl.data.rng import derive_many


@dataclass(frozen=True, eq=False)
class RowPlan:
    """Distribution of a block's conversations over rows.

    Attributes:
        members: conversations, row by row; those that are left out are not among them.
        row_bounds: place in `members` of the first conversation of each row, and the end (R + 1,).
        lengths: number of tokens of each conversation of the block that are kept (D,).
        cut: number of conversations that are cut at a turn.
        left_out: number of conversations that are left out.
    """

    members: Integers
    row_bounds: Integers
    lengths: Integers
    cut: int
    left_out: int


def plan_rows(table: Conversations, row_length: int) -> RowPlan:
    """Distribute the conversations of a block over rows of a length."""
    lengths = table.fitting(row_length)
    whole = np.diff(table.starts)
    learnt = np.concatenate([[0], np.cumsum(table.learnt, dtype=np.int64)])
    kept = learnt[table.starts[:-1] + lengths] > learnt[table.starts[:-1]]
    order = np.flatnonzero(kept)
    order = order[np.argsort(-lengths[order], kind="stable")]
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # tokens left in each row that is not full, and its number
    for document, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        place = bisect_left(room, (length, -1))
        left, row = room.pop(place) if place < len(room) else (row_length, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(document)
        if left > length:
            insort(room, (left - length, row))
    return RowPlan(
        np.array([document for row in rows for document in row], dtype=np.int64),
        bounds(np.array([len(row) for row in rows], dtype=np.int64)),
        lengths,
        int((kept & (lengths < whole)).sum()),
        int((~kept).sum()),
    )


@dataclass(frozen=True, eq=False)
class _Visit:
    """A block in one epoch: its rows in the epoch's order."""

    table: Conversations
    plan: RowPlan
    order: npt.NDArray[np.int64]
    row_length: int
    dtype: npt.DTypeLike

    def rows(self, first: int, end: int) -> Rows:
        size = self.row_length
        tokens = np.full((end - first, size), PADDING_ID, dtype=self.dtype)
        learnt = np.zeros((end - first, size), dtype=bool)
        starts: list[int] = []
        padding: list[bool] = []
        for row, number in enumerate(self.order[first:end].tolist()):
            place = 0
            for document in self.plan.members[self.plan.row_bounds[number] : self.plan.row_bounds[number + 1]].tolist():
                length, begin = int(self.plan.lengths[document]), int(self.table.starts[document])
                tokens[row, place : place + length] = self.table.tokens[begin : begin + length]
                learnt[row, place : place + length] = self.table.learnt[begin : begin + length]
                starts.append(row * size + place)
                padding.append(False)
                place += length
            if place < size:
                starts.append(row * size + place)
                padding.append(True)
        cu_seqlens = np.array([*starts, (end - first) * size], dtype=np.int32)
        return Rows(tokens, cu_seqlens, np.array(padding, dtype=bool), learnt)


class ConversationStream(BlockStream[Conversations]):
    """Rows of conversations of one folder of blocks."""

    @cached_property
    def block_rows(self) -> Integers:
        """Number of rows of each block, the same in every epoch.

        Raises:
            ValueError: if no conversation has anything to learn within a row.
        """
        found = np.array([len(plan.row_bounds) - 1 for plan in self._plans], dtype=np.int64)
        if not found.sum():
            raise ValueError(
                f"row_length must leave conversations something to learn, but none of {self.folder} has a turn to "
                f"learn that ends within {self.row_length} tokens"
            )
        return found

    @cached_property
    def _plans(self) -> list[RowPlan]:
        return [plan_rows(self._block(number), self.row_length) for number in range(len(self.manifest.blocks))]

    @property
    def cut(self) -> int:
        """Number of conversations that are cut at a turn, as they are longer than a row."""
        return sum(plan.cut for plan in self._plans)

    @property
    def left_out(self) -> int:
        """Number of conversations that are left out, as a row holds nothing of them that is learnt."""
        return sum(plan.left_out for plan in self._plans)

    @property
    def filled(self) -> float:
        """Part of the rows that is no padding."""
        kept = sum(int(plan.lengths[plan.members].sum()) for plan in self._plans)
        return kept / (self.rows_per_epoch * self.row_length)

    def _open(self, entry: BlockEntry) -> Conversations:
        return open_conversations(self.folder, entry)

    def _lay_out(self, epoch: int, number: int) -> _Visit:
        rows = np.arange(self.block_rows[number], dtype=np.uint64)
        order = np.argsort(derive_many(self._visit_key(epoch, number), rows), kind="stable")
        return _Visit(self._block(number), self._plans[number], order, self.row_length, self.dtype)
