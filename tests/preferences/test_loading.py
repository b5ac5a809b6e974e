"""Batches of pairs are a function of seed, step and rank alone."""

from itertools import islice

import numpy as np
import pytest
import torch

from spiritlm_pl.data.loading import Share
from spiritlm_pl.preferences.loading import HeldOutPairLoader, PairLoader, PairSource


def contents(batch) -> list[tuple[int, ...]]:
    """The documents of a batch, pair by pair, as sets do not depend on how they were put into rows."""
    flat, bounds = batch.tokens.flatten(), batch.cu_seqlens.tolist()
    return [
        tuple(tuple(flat[bounds[one] : bounds[one + 1]].tolist()) for one in (first, second))
        for first, second in zip(batch.chosen.tolist(), batch.rejected.tolist(), strict=True)
    ]


def test_each_epoch_has_each_pair_once_in_another_order(pairs, vocabulary) -> None:
    source = PairSource(pairs, 64, vocabulary, seed=3)
    orders = [source.order(epoch).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(len(pairs))) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert orders[0] == PairSource(pairs, 64, vocabulary, seed=3).order(0).tolist()
    whole = [one for first in range(0, 21, 3) for one in contents(source.rows(first, first + 3))]
    assert sorted(whole[:7]) == sorted(whole[7:14]) == sorted(whole[14:])  # also across ends of epochs


def test_two_ranks_read_what_one_reads(pairs, vocabulary) -> None:
    source = PairSource(pairs, 64, vocabulary, seed=0)
    one = [*PairLoader(source, Share(batch_size=4), length=5)]
    shares = [Share(batch_size=2, rank=rank, world_size=2) for rank in (0, 1)]
    two = [[*PairLoader(PairSource(pairs, 64, vocabulary, 0), share, length=5)] for share in shares]
    for step, batch in enumerate(one):
        assert batch.step == step
        assert contents(batch) == [*contents(two[0][step]), *contents(two[1][step])]
        reference = torch.cat([two[0][step].reference, two[1][step].reference])
        assert torch.equal(batch.reference, reference)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_goes_on_where_another_stopped(pairs, vocabulary, workers) -> None:
    def loader(**options):
        return PairLoader(
            PairSource(pairs, 64, vocabulary, 1),
            Share(batch_size=2, accumulate=2),
            length=8,
            identity={"seed": 1},
            **options,
        )

    whole = [*loader()]
    first = loader()
    taken = [*islice(first, 5)]
    rest = loader(num_workers=workers)
    rest.load_state_dict(first.state_dict())  # the unfinished step is repeated
    again = [*rest][:4]
    for expected, found in zip(whole[4:], again, strict=True):
        assert expected.step == found.step
        assert all(
            torch.equal(getattr(expected, name), getattr(found, name)) for name in ("tokens", "chosen", "cu_seqlens")
        )
    assert len(taken) == 5
    other = PairLoader(PairSource(pairs, 64, vocabulary, 2), Share(batch_size=2), length=8, identity={"seed": 2})
    with pytest.raises(ValueError, match="seed must be what the checkpoint was trained with"):
        other.load_state_dict(first.state_dict())


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_held_out_pairs_count_once(pairs, vocabulary, world_size) -> None:
    source = PairSource(pairs, 64, vocabulary, seed=0)
    loaders = [
        HeldOutPairLoader(source, Share(batch_size=2, rank=rank, world_size=world_size)) for rank in range(world_size)
    ]
    found = []
    for loader in loaders:
        batches = [*loader]
        assert len(batches) == len(loaders[0])
        for batch in batches:
            found += [one for one, counts in zip(contents(batch), batch.counted.tolist(), strict=True) if counts]
    expected = [(tuple([*p.prompt, *p.chosen]), tuple([*p.prompt, *p.rejected])) for p in pairs]
    assert sorted(found) == sorted(expected)
    assert np.all(pairs.lengths <= 64)
