"""Which utterances make up which batch: pure functions of (seed, epoch), so that resuming is exact.

Shapes: N utterances.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
JITTER = 0.05  # of durations, when similar ones are put together


@dataclass(frozen=True)
class Visit:
    """One batch of one epoch: what a loader's worker needs to make it.

    Attributes:
        epoch: drives crops.
        indices: positions of the utterances.
    """

    epoch: int
    indices: tuple[int, ...]


def generator(seed: int, *counters: int) -> np.random.Generator:
    """Random numbers that depend on nothing but the seed and up to three counters."""
    padded = [seed, *counters, 0, 0, 0][:4]
    key = np.array([padded[0] & (2**64 - 1), padded[1]], dtype=np.uint64)
    counter = np.array([0, 0, padded[2], padded[3]], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def step_seed(seed: int, step: int, rank: int = 0, micro_batch: int = 0) -> int:
    """Seed of what one rank draws in one micro-batch of one optimizer step (masks, dropout, crops)."""
    # CPU generators keep 32 bits of it: the last factor spreads micro-batches over these.
    return (seed * 1_000_003 + step) * 4099 + rank + micro_batch * 2_654_435_761


def bucketed_batches(
    durations: npt.NDArray[np.float64], max_seconds: float, *, seed: int, epoch: int, shuffle: bool = True
) -> list[Indices]:
    """Batches of utterances of similar length, in random order; every utterance once.

    Every epoch has the same number of batches, with the same sizes: trainers ask for their number only once.

    Args:
        durations: (N,) seconds.
        max_seconds: of a batch, padding included; a longer utterance is a batch of its own.
        seed: of the shuffle.
        epoch: another order in each.
        shuffle: False gives one fixed order, from short to long.
    """
    random = generator(seed, epoch)
    spread = JITTER if shuffle else 0.0
    # What a shuffle puts at a place is at most this much longer than what the sorted order has there.
    room = max_seconds * (1 - spread) / (1 + spread)
    bounds = [0]
    for position, duration in enumerate(np.sort(durations)):
        if position > bounds[-1] and duration * (position - bounds[-1] + 1) > room:
            bounds.append(position)
    order = np.argsort(durations * random.uniform(1 - spread, 1 + spread, len(durations)), kind="stable")
    batches = [batch for batch in np.split(order, bounds[1:]) if len(batch)]
    return [batches[i] for i in random.permutation(len(batches))] if shuffle else batches


def by_length(seconds: Sequence[float], batch_seconds: float) -> list[list[int]]:
    """Places of utterances in batches of like lengths, the shortest first; `bucketed_batches` in its fixed order."""
    batches = bucketed_batches(np.asarray(seconds), batch_seconds, seed=0, epoch=0, shuffle=False)
    return [batch.tolist() for batch in batches]


def fixed_batches(counts: Indices, batch_size: int, *, seed: int, epoch: int, shuffle: bool = True) -> list[Indices]:
    """Batches of `batch_size` visits, utterance i being visited `counts[i]` times an epoch.

    The last batch may be smaller; it is filled up from the beginning where there is more than one batch.
    """
    visits = np.repeat(np.arange(len(counts)), counts)
    if shuffle:
        visits = generator(seed, epoch).permutation(visits)
    batches = [visits[start : start + batch_size] for start in range(0, len(visits), batch_size)]
    if shuffle and len(batches) > 1:
        missing = batch_size - len(batches[-1])
        batches[-1] = np.concatenate([batches[-1], visits[:missing]])
    return batches


def share(batches: Sequence[Indices], rank: int, world_size: int) -> list[Indices]:
    """Every `world_size`-th batch from `rank` on; the first ones fill up, so that all ranks get as many."""
    if not batches:
        return []
    rounds = -(-len(batches) // world_size)
    return [batches[(i * world_size + rank) % len(batches)] for i in range(rounds)]


def evened(batches: Sequence[Indices], world_size: int) -> list[Indices]:
    """As many batches for each rank, and every utterance as often as every other, as held-out figures need it.

    The largest batches are cut in two until their number is a multiple of the ranks'. Where all hold one utterance, the
    first (shortest) ones are joined in pairs; where there are few of them beside the ranks, all come several times.
    """
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
