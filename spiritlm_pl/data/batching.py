"""Assignment of utterances to batches, as functions of (seed, epoch) alone, so that resuming is exact.

Shapes: N utterances.
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
PIECE = 1 << 16  # durations that are numbers of Python at a time
JITTER = 0.05  # relative spread of durations, so that utterances of similar length are grouped anew each epoch


@dataclass(frozen=True)
class Visit:
    """One batch of one epoch, with all that a worker of a data loader needs to make it.

    Attributes:
        epoch: number of the epoch, on which random crops depend.
        indices: positions of the utterances in the corpus.
    """

    epoch: int
    indices: tuple[int, ...]


def generator(seed: int, *counters: int) -> np.random.Generator:
    """Make a generator of random numbers that depend on the seed and up to three counters only."""
    padded = [seed, *counters, 0, 0, 0][:4]
    key = np.array([padded[0] & (2**64 - 1), padded[1]], dtype=np.uint64)
    counter = np.array([0, 0, padded[2], padded[3]], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def step_seed(seed: int, step: int, rank: int = 0, micro_batch: int = 0) -> int:
    """Return the seed for random choices (masks, dropout, crops) of a rank in a micro-batch of an optimizer step.

    Args:
        seed: seed of the run.
        step: number of the optimizer step.
        rank: number of this process.
        micro_batch: number of the batch among those that the step accumulates.
    """
    # CPU generators keep 32 bits of the seed. The last factor spreads micro-batches over them.
    return (seed * 1_000_003 + step) * 4099 + rank + micro_batch * 2_654_435_761


class Batches(Sequence[Indices]):
    """Batches that lie one after the other in a flat array, from which each is cut when it is asked for.

    Args:
        members: utterances of all batches.
        bounds: place of the first member of each batch, and the number of members.
        order: number of each batch in the order of computation; None for the order in the array.
    """

    def __init__(self, members: npt.NDArray[Any], bounds: Indices, order: Indices | None = None) -> None:
        """Keep the arrays."""
        self._members, self._bounds = members, bounds
        self._order = np.arange(len(bounds) - 1) if order is None else order

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._order)

    def __getitem__(self, place: Any) -> Any:
        """Return the batch of a place, or the batches of a slice."""
        if isinstance(place, slice):
            return Batches(self._members, self._bounds, self._order[place])
        number = self._order[place]
        return self._members[self._bounds[number] : self._bounds[number + 1]].astype(np.int64)


def bucketed_batches(
    durations: npt.NDArray[np.float64], max_seconds: float, *, seed: int, epoch: int, shuffle: bool = True
) -> Batches:
    """Make batches of utterances of similar length, in random order; each utterance occurs once.

    Every epoch has the same number of batches with the same sizes, since trainers ask for their number only once.

    Args:
        durations: duration of each utterance in seconds (N,).
        max_seconds: largest duration of a batch in seconds, padding included; a longer utterance is a batch by itself.
        seed: seed of the shuffle.
        epoch: number of the epoch; each has another order.
        shuffle: whether to shuffle; if not, the order is the same in all epochs, from short to long.
    """
    random = generator(seed, epoch)
    spread = JITTER if shuffle else 0.0
    # After a shuffle, an utterance is longer by at most this factor than the one at its place in the sorted order.
    room = max_seconds * (1 - spread) / (1 + spread)
    bounds, first = array("q", [0] if len(durations) else []), 0
    ordered = np.sort(durations)
    for start in range(0, len(ordered), PIECE):
        for position, duration in enumerate(ordered[start : start + PIECE].tolist(), start):
            if position > first and duration * (position - first + 1) > room:
                bounds.append(first := position)
    bounds.append(len(durations))
    order = np.argsort(durations * random.uniform(1 - spread, 1 + spread, len(durations)), kind="stable")
    turns = random.permutation(len(bounds) - 1) if shuffle else None
    return Batches(order, np.array(bounds, dtype=np.int64), turns)


def by_length(seconds: Sequence[float], batch_seconds: float) -> list[list[int]]:
    """Group places of utterances into batches of similar lengths, shortest first, as `bucketed_batches` unshuffled.

    Args:
        seconds: duration of each utterance in seconds.
        batch_seconds: largest duration of a batch in seconds, padding included.
    """
    batches = bucketed_batches(np.asarray(seconds), batch_seconds, seed=0, epoch=0, shuffle=False)
    return [batch.tolist() for batch in batches]


def fixed_batches(counts: Indices, batch_size: int, *, seed: int, epoch: int, shuffle: bool = True) -> Batches:
    """Make batches of `batch_size` visits, with `counts[i]` visits to utterance i per epoch.

    The last batch may be smaller. When shuffling, it is filled up with the first visits if there are more batches.

    Args:
        counts: number of visits to each utterance (N,).
        batch_size: number of visits in a batch.
        seed: seed of the shuffle.
        epoch: number of the epoch; each has another order.
        shuffle: whether to shuffle the visits; if not, they come in the order of the utterances.
    """
    visits = np.repeat(np.arange(len(counts), dtype=np.uint32), counts)
    if shuffle:
        visits = generator(seed, epoch).permutation(visits)
    if shuffle and len(visits) > batch_size:
        visits = np.concatenate([visits, visits[: -len(visits) % batch_size]])
    return Batches(visits, np.array([*range(0, len(visits), batch_size), len(visits)], dtype=np.int64))


def share(num_batches: int, rank: int, world_size: int) -> Indices:
    """Return the places of every `world_size`-th batch from `rank` on.

    The first ones are repeated so that all ranks get as many.

    Args:
        num_batches: number of batches of all ranks.
        rank: number of this process.
        world_size: number of processes that share the batches.
    """
    rounds = -(-num_batches // world_size)
    return (np.arange(rounds) * world_size + rank) % max(1, num_batches)


def evened(batches: Sequence[Indices], world_size: int) -> Sequence[Indices]:
    """Divide batches so that all ranks get as many and every utterance occurs equally often, as held-out metrics need.

    The largest batches are halved until their number is a multiple of the number of ranks. If all of them hold one
    utterance, the first (shortest) ones are joined in pairs; with fewer than two batches per rank, all batches are
    repeated instead.
    """
    if len(batches) >= 2 * world_size and len(batches) % world_size == 0:
        return batches
    even = list(batches)
    while len(even) % world_size:
        largest = max(range(len(even)), key=lambda place: len(even[place]))
        if len(even[largest]) < 2:
            break
        even[largest : largest + 1] = np.array_split(even[largest], 2)
    joined = len(even) % world_size
    if len(even) < 2 * world_size:
        return even * (world_size // math.gcd(len(even), world_size))
    pairs = [np.concatenate(even[2 * i : 2 * i + 2]) for i in range(joined)]
    return [*pairs, *even[2 * joined :]]
