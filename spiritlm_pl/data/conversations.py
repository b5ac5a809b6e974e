"""Conversations in blocks: whole sequences with their modality tokens, and a mask of the tokens that are learnt.

Shapes: D conversations, U turns, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spiritlm_pl.data.blocks import BlockEntry, open_arrays, write_arrays
from spiritlm_pl.data.documents import Integers, bounds
from spiritlm_pl.data.rng import Keys
from spiritlm_pl.runtime.ragged import ragged_take
from spiritlm_pl.storage.places import Place
from spiritlm_pl.vocabulary import Vocabulary

ARRAYS = ("tokens", "learnt", "turn_lengths", "turn_counts", "keys")


@dataclass(frozen=True, eq=False)
class Conversations:
    """Table of conversations, as it is stored in a block.

    Attributes:
        tokens: token ids of all conversations (N,), unsigned.
        learnt: 1 for each token that is learnt, else 0 (N,), uint8.
        turn_lengths: number of tokens of each turn (U,).
        turn_counts: number of turns of each conversation (D,).
        keys: 64-bit name of each conversation (D,), uint64.
    """

    tokens: npt.NDArray[np.unsignedinteger]
    learnt: npt.NDArray[np.uint8]
    turn_lengths: npt.NDArray[np.unsignedinteger]
    turn_counts: npt.NDArray[np.unsignedinteger]
    keys: Keys

    def __len__(self) -> int:
        """Return the number of conversations."""
        return len(self.turn_counts)

    @cached_property
    def turn_bounds(self) -> Integers:
        """First token of each turn, and the end (U + 1,)."""
        return bounds(self.turn_lengths)

    @cached_property
    def first_turns(self) -> Integers:
        """First turn of each conversation, and the end (D + 1,)."""
        return bounds(self.turn_counts)

    @cached_property
    def starts(self) -> Integers:
        """First token of each conversation, and the end (D + 1,)."""
        return self.turn_bounds[self.first_turns]

    @classmethod
    def of(
        cls, sequences: Sequence[tuple[Integers, npt.NDArray[np.bool_], Integers]], keys: Sequence[int]
    ) -> "Conversations":
        """Make a table of conversations, of which there must be at least one.

        Args:
            sequences: token ids, mask of those that are learnt, and number of tokens of each turn, for each
                conversation.
            keys: 64-bit name of each conversation.
        """
        return cls(
            np.concatenate([tokens for tokens, _, _ in sequences]).astype(np.uint32),
            np.concatenate([learnt for _, learnt, _ in sequences]).astype(np.uint8),
            np.concatenate([turns for _, _, turns in sequences]).astype(np.uint32),
            np.array([len(turns) for _, _, turns in sequences], dtype=np.uint32),
            np.array(keys, dtype=np.uint64),
        )

    @classmethod
    def concatenate(cls, tables: Sequence["Conversations"]) -> "Conversations":
        """Join tables, of which there must be at least one, in their order."""
        return cls(*(np.concatenate([getattr(table, name) for table in tables]) for name in ARRAYS))

    def take(self, places: Integers) -> "Conversations":
        """Return the conversations at these places (n,), in this order."""
        return Conversations(
            ragged_take(self.tokens, self.starts, places),
            ragged_take(self.learnt, self.starts, places),
            ragged_take(self.turn_lengths, self.first_turns, places),
            self.turn_counts[places],
            self.keys[places],
        )

    def fitting(self, length: int) -> Integers:
        """Return the number of tokens of each conversation within its first whole turns that have some length (D,).

        Args:
            length: largest number of tokens of a conversation.
        """
        ends = self.turn_bounds[1:]  # (U,)
        limits = np.repeat(self.starts[:-1] + length, self.turn_counts)
        kept = np.where(ends <= limits, ends, 0)
        last = np.maximum.reduceat(kept, self.first_turns[:-1]) if len(self) else np.zeros(0, np.int64)
        return np.maximum(last - self.starts[:-1], 0)


def write_conversations(folder: Path, number: int, table: Conversations, vocabulary: Vocabulary) -> BlockEntry:
    """Write conversations as one block, and return its entry for the manifest; words are turns there.

    Args:
        folder: folder of the blocks.
        number: number of the block, from 0.
        table: the conversations.
        vocabulary: layout of the token ids.
    """
    first, end = vocabulary.speech_bounds
    return write_arrays(
        folder,
        number,
        {name: getattr(table, name) for name in ARRAYS},
        vocabulary,
        documents=len(table),
        words=len(table.turn_lengths),
        text_tokens=int((table.tokens < vocabulary.num_text).sum()),
        speech_tokens=int(((table.tokens >= first) & (table.tokens < end)).sum()),
    )


def open_conversations(folder: str | Place, entry: BlockEntry) -> Conversations:
    """Check a block of conversations and map it into memory.

    Raises:
        FileNotFoundError: if the block is missing.
        ValueError: if its size, checksum or format is not that of the manifest.
    """
    return Conversations(**open_arrays(folder, entry, ARRAYS))
