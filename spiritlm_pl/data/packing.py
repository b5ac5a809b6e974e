"""Packing of the pieces of a visited block into rows of fixed length.

All documents of a visit form one sequence, and every document opens with its modality token. Row r of R takes the
tokens [r * L // R, (r + 1) * L // R) of its L, so that padding is spread evenly. A document cut by the end of a row
continues in the next row as a new segment, which opens with its modality token again (after the token that begins
documents, if there is one). The token that ends documents stands only where a document really ends.

Where the vocabulary delays codebooks, rows are cut only between frames of speech, and each stretch of speech in a row
is put into steps of its own (`spiritlm_pl.data.steps`).

Shapes: L tokens of the sequence, P pieces, R rows, T row length, B rows asked for, N segments.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spiritlm_pl.data.documents import Integers, bounds
from spiritlm_pl.data.interleave import NO_MARKER, Pieces
from spiritlm_pl.data.steps import frame_tokens, in_steps
from spiritlm_pl.vocabulary import Modality, Vocabulary

Ids = npt.NDArray[np.unsignedinteger]
PADDING_ID = 0
ROWS_AT_A_TIME = 32_768  # tokens gathered at a time, so that index arrays fit the cache


def shortest_row(vocabulary: Vocabulary) -> int:
    """Return the shortest length of a row: the tokens that open a continued document, and a token of it, or a frame."""
    return len(vocabulary.opening) + 1 + frame_tokens(vocabulary)


def rows_needed(num_tokens: int, row_length: int, vocabulary: Vocabulary) -> int:
    """Return how many rows hold `num_tokens`, with room in each for the tokens that open a continued document."""
    return -(-num_tokens // (row_length - shortest_row(vocabulary) + 1))


@dataclass(frozen=True, eq=False)
class Rows:
    """Packed rows in the compact form in which a worker returns them.

    Attributes:
        tokens: token ids (B, T), unsigned; PADDING_ID after the last segment of a row.
        cu_seqlens: bounds of the segments in the flattened rows (N + 1,), int32; padding is a segment, too.
        padding: whether each segment is padding (N,), bool.
        learnt: whether each token is learnt (B, T), bool; None if all tokens are.
    """

    tokens: Ids
    cu_seqlens: npt.NDArray[np.int32]
    padding: npt.NDArray[np.bool_]
    learnt: npt.NDArray[np.bool_] | None = None

    @classmethod
    def empty(cls, rows: int, row_length: int, dtype: npt.DTypeLike) -> "Rows":
        """Make rows of padding alone."""
        return cls(
            np.full((rows, row_length), PADDING_ID, dtype=dtype),
            np.arange(rows + 1, dtype=np.int32) * row_length,
            np.ones(rows, dtype=bool),
        )

    @classmethod
    def concatenate(cls, parts: "list[Rows]") -> "Rows":
        """Concatenate the rows of several parts."""
        if len(parts) == 1:
            return parts[0]
        starts = bounds(np.array([part.tokens.size for part in parts]))
        lows = [part.cu_seqlens[:-1] + np.int32(start) for part, start in zip(parts, starts[:-1], strict=True)]
        masks = [part.learnt for part in parts]
        learnt = None
        if any(mask is not None for mask in masks):
            pairs = zip(parts, masks, strict=True)
            learnt = np.concatenate(
                [np.ones(part.tokens.shape, bool) if mask is None else mask for part, mask in pairs]
            )
        return cls(
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([*lows, starts[-1:].astype(np.int32)]),
            np.concatenate([part.padding for part in parts]),
            learnt,
        )


class PackedBlock:
    """One visit to one block, cut into rows; tokens are gathered only for the rows that are asked for."""

    def __init__(self, tokens: Ids, pieces: Pieces, num_rows: int, row_length: int, vocabulary: Vocabulary) -> None:
        """Lay out the rows.

        Args:
            tokens: tokens of the block (N,).
            pieces: pieces of the visit.
            num_rows: number of rows R, at least `rows_needed` of the visit's length.
            row_length: number of tokens in a row, T.
            vocabulary: vocabulary with the modality tokens.
        """
        self.tokens = tokens
        self.pieces = pieces
        self.vocabulary = vocabulary
        self.num_rows = num_rows
        self.row_length = row_length
        self.opening = np.array(vocabulary.opening, dtype=tokens.dtype)
        self.markers = np.array([vocabulary.text_marker, vocabulary.speech_marker], dtype=tokens.dtype)
        self.starts = bounds(pieces.length + (pieces.marker != NO_MARKER))  # (P + 1,)
        self.num_tokens = int(self.starts[-1])
        spoken = pieces.length[pieces.modality == Modality.SPEECH]
        if (spoken % frame_tokens(vocabulary)).any():
            raise ValueError("blocks with delays of codebooks must hold whole frames of speech, but hold parts of some")
        assert rows_needed(self.num_tokens, row_length, vocabulary) <= num_rows, (self.num_tokens, num_rows, row_length)

    @cached_property
    def document_starts(self) -> Integers:
        """Place in the sequence where each document that is not empty starts."""
        document = self.pieces.document
        fresh = np.ones(len(document), dtype=bool)
        fresh[1:] = document[1:] != document[:-1]
        return self.starts[:-1][fresh]

    def cuts(self, first: int, end: int) -> Integers:
        """Return where rows [first, end) start in the sequence, and where the last one ends (end - first + 1,)."""
        cuts = np.arange(first, end + 1, dtype=np.int64) * self.num_tokens // self.num_rows
        kept_together = frame_tokens(self.vocabulary)
        return cuts if kept_together == 1 or not self.num_tokens else self._between_frames(cuts, kept_together)

    def _between_frames(self, cuts: Integers, frame: int) -> Integers:
        """Move cuts inside a frame of speech, of `frame` tokens, to its beginning."""
        piece = np.minimum(np.searchsorted(self.starts, cuts, side="right") - 1, len(self.pieces.marker) - 1)
        inside = cuts - self.starts[piece] - (self.pieces.marker[piece] != NO_MARKER)
        speech = (self.pieces.modality[piece] == Modality.SPEECH) & (inside > 0) & (self.pieces.length[piece] > 0)
        return cuts - np.where(speech, inside % frame, 0)

    def rows(self, first: int, end: int) -> Rows:
        """Return rows [first, end) of the visit."""
        cuts = self.cuts(first, end)
        out = np.full((end - first, self.row_length), PADDING_ID, dtype=self.tokens.dtype)
        reopened, opens = self._reopened(cuts)
        per_chunk = max(1, ROWS_AT_A_TIME // self.row_length)
        for chunk in range(0, end - first, per_chunk):
            stop = min(chunk + per_chunk, end - first)
            base = int(cuts[chunk])
            payload = self._gather(base, int(cuts[stop]))
            payload = in_steps(payload, self.vocabulary, cuts[chunk:stop][cuts[chunk:stop] < cuts[stop]] - base)
            for row in range(chunk, stop):
                begin, low, high = int(opens[row]), int(cuts[row]) - base, int(cuts[row + 1]) - base
                out[row, :begin] = reopened[row, :begin]
                out[row, begin : begin + high - low] = payload[low:high]
        cu_seqlens, padding = self._segments(cuts, opens)
        return Rows(out, cu_seqlens, padding)

    def _reopened(self, cuts: Integers) -> tuple[Ids, Integers]:
        """Return the tokens that open a continued document in each row, and how many of them the row needs (B,)."""
        starts, opening = cuts[:-1], np.tile(self.opening, (len(cuts) - 1, 1))
        if self.num_tokens == 0:
            return opening, np.zeros(len(starts), dtype=np.int64)
        piece = np.minimum(np.searchsorted(self.starts, starts, side="right") - 1, len(self.pieces.marker) - 1)
        at_start = self.starts[piece] == starts
        document = self.pieces.document
        fresh = at_start & ((piece == 0) | (document[piece] != document[piece - 1]))
        marked = at_start & (self.pieces.marker[piece] != NO_MARKER) & (self.pieces.length[piece] > 0)
        tokens = np.concatenate([opening, self.markers[self.pieces.modality[piece]][:, None]], axis=1)  # (B, 1 or 2)
        needed = np.where(marked, len(self.opening), len(self.opening) + 1)
        return tokens, np.where(fresh | (np.diff(cuts) == 0), 0, needed)

    def _gather(self, low: int, high: int) -> Ids:
        """Gather tokens [low, high) of the sequence."""
        if low == high:
            return np.empty(0, dtype=self.tokens.dtype)
        first = int(np.searchsorted(self.starts, low, side="right")) - 1
        end = int(np.searchsorted(self.starts, high, side="left"))
        starts, marker = self.starts[first:end], self.pieces.marker[first:end]
        marked = marker != NO_MARKER
        shift = self.pieces.source[first:end] - starts - marked  # source position minus sequence position
        lengths = np.minimum(self.starts[first + 1 : end + 1], high) - np.maximum(starts, low)
        index = np.repeat(shift, lengths)
        index += np.arange(low, high, dtype=np.int64)
        payload: Ids = self.tokens.take(index, mode="wrap")  # meaningless at markers, set below
        marked[0] &= starts[0] >= low
        payload[starts[marked] - low] = marker[marked]
        return payload

    def _segments(self, cuts: Integers, opens: Integers) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """Return the bounds of the segments of some rows, and which of the segments are padding."""
        rows = len(cuts) - 1
        offsets = np.arange(rows, dtype=np.int64) * self.row_length
        low, high = np.searchsorted(self.document_starts, [cuts[0], cuts[-1]], side="left")
        inner = self.document_starts[low:high]
        row = np.searchsorted(cuts, inner, side="right") - 1
        inside = inner > cuts[row]  # the first segment of a row begins at the row's start anyway
        inner, row = inner[inside], row[inside]
        used = np.diff(cuts)
        filled = used + opens
        ends = offsets + filled
        bound = np.concatenate(
            [offsets[filled > 0], offsets[row] + inner - cuts[row] + opens[row], ends[filled < self.row_length]]
        )
        kind = np.zeros(len(bound), dtype=bool)
        kind[len(bound) - int((filled < self.row_length).sum()) :] = True
        sorting = np.argsort(bound, kind="stable")
        cu_seqlens = np.append(bound[sorting], rows * self.row_length).astype(np.int32)
        return cu_seqlens, kind[sorting]
