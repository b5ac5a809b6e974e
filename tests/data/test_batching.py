"""Batches that are cut from flat arrays are those of the plain way to make them."""

import numpy as np
import pytest

from spiritlm_pl.data import batching
from spiritlm_pl.data.batching import Batches, bucketed_batches, evened, fixed_batches, generator, share


def plain_buckets(durations: np.ndarray, most: float, seed: int, epoch: int, shuffle: bool) -> list[list[int]]:
    random, spread = generator(seed, epoch), batching.JITTER if shuffle else 0.0
    room, bounds = most * (1 - spread) / (1 + spread), [0]
    for position, duration in enumerate(np.sort(durations)):
        if position > bounds[-1] and duration * (position - bounds[-1] + 1) > room:
            bounds.append(position)
    order = np.argsort(durations * random.uniform(1 - spread, 1 + spread, len(durations)), kind="stable")
    batches = [batch.tolist() for batch in np.split(order, bounds[1:]) if len(batch)]
    return [batches[i] for i in random.permutation(len(batches))] if shuffle else batches


def plain_fixed(counts: np.ndarray, size: int, seed: int, epoch: int, shuffle: bool) -> list[list[int]]:
    visits = np.repeat(np.arange(len(counts)), counts)
    if shuffle:
        visits = generator(seed, epoch).permutation(visits)
    batches = [visits[start : start + size].tolist() for start in range(0, len(visits), size)]
    if shuffle and len(batches) > 1:
        batches[-1] += visits[: size - len(batches[-1])].tolist()
    return batches


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("number", [0, 1, 7, 300])
def test_batches_are_those_of_lists(number: int, shuffle: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "PIECE", 16)
    random = np.random.default_rng(number)
    for seed, epoch, most in ((0, 0, 30.0), (5, 3, 4.0)):
        durations = random.uniform(0.2, 15, number)
        found = bucketed_batches(durations, most, seed=seed, epoch=epoch, shuffle=shuffle)
        assert [batch.tolist() for batch in found] == plain_buckets(durations, most, seed, epoch, shuffle)
        counts = random.integers(0, 4, number)
        for size in (1, 4, 1000):
            some = fixed_batches(counts, size, seed=seed, epoch=epoch, shuffle=shuffle)
            assert [batch.tolist() for batch in some] == plain_fixed(counts, size, seed, epoch, shuffle)


def test_shares_are_disjoint_and_equal() -> None:
    for world in (1, 2, 3, 5):
        places = [share(7, rank, world).tolist() for rank in range(world)]
        assert len({len(own) for own in places}) == 1 and {place for own in places for place in own} == set(range(7))
    assert share(0, 0, 2).tolist() == []


def test_a_slice_and_even_batches() -> None:
    batches = Batches(np.arange(10), np.array([0, 4, 6, 7, 10]), np.array([2, 0, 1, 3]))
    assert [batch.tolist() for batch in batches[1:3]] == [[0, 1, 2, 3], [4, 5]]
    assert evened(batches, 2) is batches
    even = evened(batches, 3)
    assert len(even) == 6 and sorted(np.concatenate(list(even)).tolist()) == list(range(10))
