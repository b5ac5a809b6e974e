"""Turns of streams: which stream gives row p of the run, and which of its own rows, as a function of p alone.

Turns repeat in cycles, in which every stream has a fixed number of rows, its quota. A cycle of up to `LONGEST_TABLE`
rows is a table. It is used where it gives every stream its share within `TOLERANCE`. For other weights the cycle may be
as long as it must be, and is computed: the first stream takes the rows at which the rounding of p * quota / length
grows, the next stream takes its part of the rows that are left in the same way, and so on (lines as Bresenham draws
them, one within the other). All of it is integer arithmetic, the same on every machine.

Shapes: C rows of a cycle, S streams, B rows asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from math import gcd, isfinite, lcm

import numpy as np

from spiritlm_pl.data.documents import Integers

LONGEST_TABLE = 1_000  # rows of a cycle that is stored as a table
LONGEST_CYCLE = 1 << 31  # rows of any cycle, so that a place times a quota fits into 63 bits
TOLERANCE = 1e-3  # largest deviation of a share, as a part of that share
EXACT = 1e-9


class Turns(ABC):
    """Order of the turns of several streams.

    Attributes:
        quotas: rows of each stream in a cycle (S,).
        length: rows of a cycle, C.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        """Store the rows of each stream in a cycle (S,)."""
        self.quotas, self.length = tuple(counts), sum(counts)

    @abstractmethod
    def within_cycle(self, places: Integers) -> tuple[Integers, Integers]:
        """Return the stream of each place (B,) of a cycle, and how many of its rows come before it in the cycle."""

    def rows(self, numbers: Integers) -> tuple[Integers, Integers]:
        """Return the stream of each row (B,) of the run, and its number among the rows of that stream."""
        cycles, places = np.divmod(numbers, self.length)
        streams, earlier = self.within_cycle(places)
        return streams, cycles * np.array(self.quotas, dtype=np.int64)[streams] + earlier

    def end_of(self, stream: int, num_rows: int) -> int:
        """Return the number of rows of the run after which a stream has given `num_rows` (at least 1) rows."""
        cycles, rest = divmod(num_rows - 1, self.quotas[stream])
        return cycles * self.length + self.place_of(stream, rest) + 1

    @abstractmethod
    def place_of(self, stream: int, turn: int) -> int:
        """Return the place in the cycle of turn number `turn` of a stream, counted from 0."""


class TableTurns(Turns):
    """Turns from a table of one cycle."""

    def __init__(self, counts: Sequence[int]) -> None:
        """Lay out the cycle of the rows of each stream (S,)."""
        super().__init__(counts)
        self.slots = np.array(cycle(counts), dtype=np.int64)
        earlier = [int((self.slots[:slot] == stream).sum()) for slot, stream in enumerate(self.slots)]
        self.earlier = np.array(earlier, dtype=np.int64)  # turns of the same stream before each slot

    def within_cycle(self, places: Integers) -> tuple[Integers, Integers]:
        """Return the stream of each place (B,) of a cycle, and how many of its rows come before it in the cycle."""
        return self.slots[places], self.earlier[places]

    def place_of(self, stream: int, turn: int) -> int:
        """Return the place in the cycle of turn number `turn` of a stream, counted from 0."""
        return int(np.flatnonzero(self.slots == stream)[turn])


class ComputedTurns(Turns):
    """Turns from a formula, for cycles of any length up to `LONGEST_CYCLE`."""

    def within_cycle(self, places: Integers) -> tuple[Integers, Integers]:
        """Return the stream of each place (B,) of a cycle, and how many of its rows come before it in the cycle."""
        streams = np.full(len(places), len(self.quotas) - 1, dtype=np.int64)
        earlier = np.zeros(len(places), dtype=np.int64)
        left, rest = np.arange(len(places)), np.array(places, dtype=np.int64)  # rows whose stream is not known yet
        length = self.length
        for stream, quota in enumerate(self.quotas):
            before = _rounded(rest, quota, length)
            mine = _rounded(rest + 1, quota, length) > before
            streams[left[mine]], earlier[left[mine]] = stream, before[mine]
            left, rest, length = left[~mine], (rest - before)[~mine], length - quota
            if not length:
                break
        return streams, earlier

    def place_of(self, stream: int, turn: int) -> int:
        """Return the place in the cycle of turn number `turn` of a stream, counted from 0."""
        lengths = [sum(self.quotas[number:]) for number in range(stream + 1)]
        place = _first(turn, self.quotas[stream], lengths[stream])
        for number in reversed(range(stream)):  # to its place among the rows that an earlier stream left
            place = _left_by(place, self.quotas[number], lengths[number])
        return place


def _rounded(places: Integers, quota: int, length: int) -> Integers:
    """Round places * quota / length to integers."""
    return (places * quota + length // 2) // length


def _first(turn: int, quota: int, length: int) -> int:
    """Return the place at which the rounding of place * quota / length exceeds `turn` after it."""
    return -(-((turn + 1) * length - length // 2) // quota) - 1


def _left_by(place: int, quota: int, length: int) -> int:
    """Return the place of the row that is number `place` of those that a stream with this quota leaves."""
    low, high = place, length - 1
    while low < high:
        middle = (low + high) // 2
        left = middle + 1 - ((middle + 1) * quota + length // 2) // length
        low, high = (low, middle) if left > place else (middle + 1, high)
    return low


def turns(weights: Sequence[float]) -> Turns:
    """Return the turns of streams with these weights; the arguments and errors are those of `quotas`."""
    chosen = quotas(weights)
    return TableTurns(chosen) if sum(chosen) <= LONGEST_TABLE else ComputedTurns(chosen)


def quotas(weights: Sequence[float]) -> list[int]:
    """Return the rows of each stream in the shortest cycle that gives their shares: exactly, or within `TOLERANCE`.

    Args:
        weights: share of each stream (S,), on any positive scale.

    Raises:
        ValueError: if a weight is not a positive number, or too small compared with the others.
    """
    if not weights or not all(isfinite(weight) and weight > 0 for weight in weights):
        raise ValueError(f"weights must be positive numbers, but are {list(weights)} instead")
    if (short := _short_quotas(weights)) is not None and deviation(short, weights) <= TOLERANCE:
        return short
    chosen = _long_quotas(weights)
    if min(chosen) < 1 or deviation(chosen, weights) > TOLERANCE:
        raise ValueError(
            f"weights must have shares that a cycle of {LONGEST_CYCLE} rows can give within {TOLERANCE:.1%} (each at "
            f"least {1 / (2 * TOLERANCE * LONGEST_CYCLE):.1g} of the sum), but are {list(weights)} instead"
        )
    return chosen


def deviation(rows: Sequence[int], weights: Sequence[float]) -> float:
    """Return the largest deviation of a stream's share in the cycle, as a part of the share that it should have."""
    length, total = sum(rows), sum(weights)
    pairs = zip(rows, weights, strict=True)
    return max(abs(quota / length * total / weight - 1) for quota, weight in pairs)


def _short_quotas(weights: Sequence[float]) -> list[int] | None:
    """Return the quotas of the shortest exact cycle for a table, or else of the closest one; None if none fits."""
    shares = np.array(weights, dtype=np.float64) / sum(weights)
    best, smallest = None, np.inf
    for length in range(len(weights), LONGEST_TABLE + 1):
        counts = np.maximum(1, np.rint(shares * length)).astype(int)
        if counts.sum() != length:
            continue
        error = float(np.abs(counts / length - shares).max())
        if error < smallest - EXACT:
            best, smallest = counts, error
        if error < EXACT:
            break
    return None if best is None else [int(count) for count in best]


def _long_quotas(weights: Sequence[float]) -> list[int]:
    """Return the quotas of the exact cycle of weights as they are written, or else of the longest cycle."""
    exact = [Fraction(repr(float(weight))) for weight in weights]
    common = lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * common) for weight in exact]
    divisor = gcd(*whole)
    if sum(whole) // divisor <= LONGEST_CYCLE:
        return [weight // divisor for weight in whole]
    total = sum(whole)
    chosen = [(weight * LONGEST_CYCLE + total // 2) // total for weight in whole]
    chosen[chosen.index(max(chosen))] += LONGEST_CYCLE - sum(chosen)
    return chosen


def cycle(counts: Sequence[int]) -> list[int]:
    """Return the stream of every slot of a cycle, with each stream spread as evenly as possible."""
    length = sum(counts)
    given = [0] * len(counts)
    slots = []
    for slot in range(1, length + 1):
        behind = [count * slot - have * length for count, have in zip(counts, given, strict=True)]
        stream = behind.index(max(behind))
        given[stream] += 1
        slots.append(stream)
    return slots
