"""Mixing of streams by weights measured in tokens: each row of the run is the turn of one stream.

`spiritlm_pl.data.turns` says whose turn it is. Each stream gives its own rows in order. All rows are equally long, so
shares of rows are shares of tokens, padding included, exact in every cycle of turns.
"""

import numpy as np

from spiritlm_pl.data.block_stream import AnyStream
from spiritlm_pl.data.documents import bounds
from spiritlm_pl.data.packing import Rows
from spiritlm_pl.data.turns import LONGEST_TABLE, turns
from spiritlm_pl.vocabulary import Vocabulary


class Mixture:
    """Rows of several streams in one order."""

    def __init__(self, streams: list[AnyStream], weights: list[float]) -> None:
        """Check that the streams fit together, and find their turns.

        Args:
            streams: streams with one common vocabulary and row length.
            weights: share of the tokens of each stream, on any positive scale.

        Raises:
            ValueError: if the vocabularies or the delimiters of documents differ, or a weight is not a positive number
                or too small compared with the others.
        """
        first = streams[0]
        for stream in streams[1:]:
            if stream.vocabulary != first.vocabulary:
                check_delimiters(stream, first)
                raise ValueError(
                    f"streams must share one vocabulary, but {first.folder} has {first.vocabulary} "
                    f"and {stream.folder} has {stream.vocabulary}"
                )
        self.streams = streams
        self.row_length = first.row_length
        self.turns = turns(weights)

    @property
    def vocabulary(self) -> Vocabulary:
        """Layout of the token ids."""
        return self.streams[0].vocabulary

    def rows_until_all_read(self) -> int:
        """Return the number of rows after which every stream has been read at least once.

        It is a number of whole cycles where these are so short that they are a table.
        """
        ends = [self.turns.end_of(number, stream.rows_per_epoch) for number, stream in enumerate(self.streams)]
        whole = self.turns.length if self.turns.length <= LONGEST_TABLE else 1
        return -(-max(ends) // whole) * whole

    def passes(self, num_rows: int) -> list[float]:
        """Return how often `num_rows` rows read each stream."""
        cycles = num_rows / self.turns.length
        pairs = zip(self.streams, self.turns.quotas, strict=True)
        return [cycles * quota / stream.rows_per_epoch for stream, quota in pairs]

    def rows(self, first: int, end: int) -> Rows:
        """Return rows [first, end) of the run, in order."""
        stream_of, within = self.turns.rows(np.arange(first, end, dtype=np.int64))
        parts, places = [], []
        for number, stream in enumerate(self.streams):
            chosen = np.flatnonzero(stream_of == number)
            if len(chosen):  # consecutive rows of the mixture take consecutive rows of each stream
                parts.append(stream.rows(int(within[chosen[0]]), int(within[chosen[-1]]) + 1))
                places.append(chosen)
        return _ordered(Rows.concatenate(parts), np.concatenate(places))


def check_delimiters(stream: AnyStream, first: AnyStream) -> None:
    """Check that the documents of two data streams begin and end with the same tokens.

    Args:
        stream: data stream to check.
        first: first data stream of the mixture, with which it is compared.

    Raises:
        ValueError: if they have different tokens at the beginning or the end of documents.
    """
    for name in ("begin_of_document", "end_of_document"):
        one, other = getattr(first.vocabulary, name), getattr(stream.vocabulary, name)
        if one != other:
            raise ValueError(
                f"{name} must be the same in all streams, but is {one} in {first.folder} and {other} in "
                f"{stream.folder}; build both with the same --{name}"
            )


def _ordered(rows: Rows, places: np.ndarray) -> Rows:
    """Move row i to `places[i]`."""
    if np.array_equal(places, np.arange(len(places))):
        return rows
    length = rows.tokens.shape[1]
    order = np.argsort(places)
    row = rows.cu_seqlens[:-1] // length
    sorting = np.argsort(places[row], kind="stable")
    lengths = np.diff(rows.cu_seqlens)[sorting]
    learnt = None if rows.learnt is None else rows.learnt[order]
    return Rows(rows.tokens[order], bounds(lengths).astype(np.int32), rows.padding[sorting], learnt)
