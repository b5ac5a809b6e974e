"""Stream of packed rows of documents: text, speech, or both interleaved by words.

An epoch reads every document of a block once, in an order of the epoch's own; interleaving is drawn anew. Interleaving
changes the length of a block a little. Its number of rows therefore allows for the longest of a few trial visits, and a
visit that would not fit is drawn again with the next key.
"""

from functools import cached_property

import numpy as np

from spiritlm_pl.data.block_stream import BlockStream
from spiritlm_pl.data.blocks import BlockEntry, open_block
from spiritlm_pl.data.documents import Documents, Integers
from spiritlm_pl.data.interleave import NO_MARKER, Interleaving, Pieces, visit
from spiritlm_pl.data.packing import PackedBlock, rows_needed
from spiritlm_pl.data.rng import derive, derive_many
from spiritlm_pl.storage.places import Place

RANDOM_LENGTH = ("interleaved", "none")
TRIALS = 8  # visits from which the number of rows of a block is estimated
MANY_BLOCKS = 3  # of more blocks, only the first and last are tried: shuffled blocks are alike
SLACK = 1.01  # factor on the length of blocks that were not tried
REDRAWS = 1_000


class TokenStream(BlockStream[Documents]):
    """Rows of documents of one folder of blocks."""

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
        super().__init__(folder, row_length, seed, name)
        self.interleaving = (
            interleaving
            if self.manifest.kind == "aligned"
            else Interleaving(mode="text" if self.manifest.kind == "text" else "speech")
        )
        self.interleaving.check(self.vocabulary)

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
    def filled(self) -> float:
        """Part of the rows that is no padding, where every document has one marker and rows hold all its tokens."""
        markers = len(self.vocabulary.opening) + 1 + (self.vocabulary.end_of_document is not None)
        tokens = self.manifest.num_tokens + markers * self.manifest.num_documents
        return tokens / (self.rows_per_epoch * self.row_length)

    def _open(self, entry: BlockEntry) -> Documents:
        return open_block(self.folder, entry)

    def _lay_out(self, epoch: int, number: int) -> PackedBlock:
        rows = int(self.block_rows[number])
        documents = self._block(number)
        for attempt in range(REDRAWS):
            pieces = self._pieces(documents, number, epoch, attempt)
            if rows_needed(_length(pieces), self.row_length, self.vocabulary) <= rows:
                return PackedBlock(documents.tokens, pieces, rows, self.row_length, self.vocabulary)
        raise ValueError(
            f"block {number} of {self.folder} must fit {rows} rows of {self.row_length} tokens "
            f"in one of {REDRAWS} draws, but does not; build blocks of more documents"
        )

    def _pieces(self, documents: Documents, number: int, epoch: int, attempt: int) -> Pieces:
        key = self._visit_key(epoch, number)
        order = np.argsort(derive_many(key, documents.keys), kind="stable")
        return visit(documents, order, derive(key, attempt), self.interleaving, self.vocabulary)

    def _length(self, number: int, trial: int) -> int:
        """Return the number of tokens of a trial visit, which takes an epoch below 0, since no run reads those."""
        return _length(self._pieces(self._block(number), number, -1 - trial, 0))


def _length(pieces: Pieces) -> int:
    return int(pieces.length.sum()) + int((pieces.marker != NO_MARKER).sum())
