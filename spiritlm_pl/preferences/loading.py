"""Loading of batches of pairs: batch i of a rank depends on (seed, i, rank) only, as that of rows does.

Each epoch has all pairs in an order of its own. Pair p of the run is number p % P of epoch p // P, and batches take the
pairs of the run in turn, so that all of `spiritlm_pl.data.loading` holds with pairs in place of rows.

Shapes: P pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader, Dataset

from spiritlm_pl.contracts.batches import PairBatch
from spiritlm_pl.data.loading import VALIDATION_STEP, Share, TrainingLoader
from spiritlm_pl.data.rng import derive, derive_many
from spiritlm_pl.preferences.packing import pack
from spiritlm_pl.preferences.pairs import Pairs
from spiritlm_pl.vocabulary import Vocabulary


class PairSource:
    """Endless sequence of pairs, in another order in each epoch; gives them packed.

    Args:
        pairs: pairs of the training split, at least one.
        row_length: largest number of tokens in a row.
        vocabulary: layout of the token ids.
        seed: seed of the orders.
    """

    def __init__(self, pairs: Pairs, row_length: int, vocabulary: Vocabulary, seed: int) -> None:
        """Store the settings."""
        self.pairs, self.row_length, self.vocabulary, self.seed = pairs, row_length, vocabulary, seed
        self._orders: dict[int, npt.NDArray[np.int64]] = {}  # of the epochs that were asked for last

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the places of all pairs (P,) in the order of an epoch."""
        if epoch not in self._orders:
            keys = derive_many(derive(derive(0, self.seed), epoch), np.arange(len(self.pairs), dtype=np.uint64))
            self._orders = {known: order for known, order in self._orders.items() if known == epoch - 1}
            self._orders[epoch] = np.argsort(keys, kind="stable")
        return self._orders[epoch]

    def rows(self, first: int, end: int) -> PairBatch:
        """Return the pairs [first, end) of the run, packed; the batch has no step yet."""
        epochs = np.arange(first, end) // len(self.pairs)
        places = [
            self.order(int(epoch))[np.arange(first, end)[epochs == epoch] % len(self.pairs)]
            for epoch in np.unique(epochs)
        ]
        return pack(self.pairs.take(np.concatenate(places)), self.row_length, self.vocabulary, VALIDATION_STEP)


class PairLoader(TrainingLoader):
    """Loader of training batches of pairs; a "row" of its state is a pair."""

    def batch(self, rows: Any, step: int) -> PairBatch:
        """Give the batch its step."""
        return replace(rows, step=step)


@dataclass(frozen=True, eq=False)
class _HeldOutPairs(Dataset[PairBatch]):
    source: PairSource
    share: Share

    def __getitem__(self, batch: int) -> PairBatch:
        pairs = self.source.pairs
        first, end = self.share.rows(0, batch)
        filling = min(max(end - len(pairs), 0), end - first)
        places = np.minimum(np.arange(first, end), len(pairs) - 1)
        source = self.source
        return pack(pairs.take(places), source.row_length, source.vocabulary, VALIDATION_STEP, filling)


class HeldOutPairLoader:
    """One fixed pass over pairs in which each counts once; ranks that run out of pairs get others that do not count.

    Args:
        source: pairs and how they are packed.
        share: share of the pairs that this rank reads.
        num_workers: number of processes that make batches; 0 makes them in this process.
    """

    def __init__(self, source: PairSource, share: Share, num_workers: int = 0) -> None:
        """Store the settings."""
        self.source, self.share, self.num_workers = source, share, num_workers

    def __len__(self) -> int:
        """Return the number of batches, the same on every rank."""
        return -(-len(self.source.pairs) // self.share.rows_per_batch)

    def __iter__(self) -> Iterator[PairBatch]:
        """Yield all batches of this rank."""
        dataset = _HeldOutPairs(self.source, self.share)
        loader: DataLoader[PairBatch] = DataLoader(
            dataset, batch_size=None, sampler=range(len(self)), num_workers=self.num_workers, collate_fn=_as_it_is
        )
        yield from loader


def _as_it_is(batch: Any) -> Any:
    return batch
