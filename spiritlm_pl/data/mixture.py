"""Mixing of streams by weights measured in tokens: a fixed cycle of rows with a quota for each stream.

Row p of the run lies in cycle p // C at slot p % C. A slot belongs to one stream, whose rows it takes in order. All
rows are equally long, so shares of rows are shares of tokens, exact in every cycle.

Shapes: C slots of the cycle, S streams, B rows asked for.
"""

import numpy as np

from spiritlm_pl.data.documents import bounds
from spiritlm_pl.data.packing import Rows
from spiritlm_pl.data.stream import TokenStream
from spiritlm_pl.vocabulary import Vocabulary

LONGEST_CYCLE = 1_000
EXACT = 1e-9


def quotas(weights: list[float]) -> list[int]:
    """Return the slots of each stream in a cycle: the shortest cycle that is exact, or else the closest one.

    Raises:
        ValueError: if a weight is not positive, or too small compared with the others.
    """
    if not weights or min(weights) <= 0:
        raise ValueError(f"weights must be positive, but are {weights} instead")
    shares = np.array(weights, dtype=np.float64) / sum(weights)
    best, smallest = None, np.inf
    for length in range(len(weights), LONGEST_CYCLE + 1):
        counts = np.maximum(1, np.rint(shares * length)).astype(int)
        if counts.sum() != length:
            continue
        error = float(np.abs(counts / length - shares).max())
        if error < smallest - EXACT:
            best, smallest = counts, error
        if error < EXACT:
            break
    if best is None:
        raise ValueError(
            f"weights must have shares that a cycle of {LONGEST_CYCLE} rows can give (each above "
            f"1/{2 * LONGEST_CYCLE} of the sum), but are {weights} instead"
        )
    return [int(count) for count in best]


def cycle(counts: list[int]) -> list[int]:
    """Return the stream of every slot, with each stream spread as evenly as possible."""
    length = sum(counts)
    given = [0] * len(counts)
    slots = []
    for slot in range(1, length + 1):
        behind = [count * slot - have * length for count, have in zip(counts, given, strict=True)]
        stream = behind.index(max(behind))
        given[stream] += 1
        slots.append(stream)
    return slots


class Mixture:
    """Rows of several streams in one order."""

    def __init__(self, streams: list[TokenStream], weights: list[float]) -> None:
        """Check that the streams fit together, and lay out the cycle.

        Args:
            streams: streams with one common vocabulary and row length.
            weights: share of the tokens of each stream, on any positive scale.

        Raises:
            ValueError: if the vocabularies or the delimiters of documents differ, or a weight is not positive or too
                small compared with the others.
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
        self.quotas = quotas(weights)
        self.slots = np.array(cycle(self.quotas), dtype=np.int64)
        earlier = [int((self.slots[:slot] == stream).sum()) for slot, stream in enumerate(self.slots)]
        self.ranks = np.array(earlier, dtype=np.int64)  # number of each slot among the slots of its stream

    @property
    def vocabulary(self) -> Vocabulary:
        """Layout of the token ids."""
        return self.streams[0].vocabulary

    def rows_until_all_read(self) -> int:
        """Return the number of rows, in whole cycles, after which every stream has been read at least once."""
        cycles = [-(-stream.rows_per_epoch // quota) for stream, quota in zip(self.streams, self.quotas, strict=True)]
        return max(cycles) * len(self.slots)

    def passes(self, num_rows: int) -> list[float]:
        """Return how often `num_rows` rows read each stream."""
        turns = num_rows / len(self.slots)
        return [turns * quota / stream.rows_per_epoch for stream, quota in zip(self.streams, self.quotas, strict=True)]

    def rows(self, first: int, end: int) -> Rows:
        """Return rows [first, end) of the run, in order."""
        numbers = np.arange(first, end, dtype=np.int64)
        stream_of = self.slots[numbers % len(self.slots)]
        within = (numbers // len(self.slots)) * np.array(self.quotas)[stream_of] + self.ranks[numbers % len(self.slots)]
        parts, places = [], []
        for number, stream in enumerate(self.streams):
            chosen = np.flatnonzero(stream_of == number)
            if len(chosen):  # consecutive rows of the mixture take consecutive rows of each stream
                parts.append(stream.rows(int(within[chosen[0]]), int(within[chosen[-1]]) + 1))
                places.append(chosen)
        return _ordered(Rows.concatenate(parts), np.concatenate(places))


def check_delimiters(stream: TokenStream, first: TokenStream) -> None:
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
    return Rows(rows.tokens[order], bounds(lengths).astype(np.int32), rows.padding[sorting])
