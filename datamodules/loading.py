"""Sampler and loader whose whole state is (epoch, batches taken); all views of speech use them.

The shuffle depends on seed and epoch alone, and each rank takes its own batches. A checkpoint stores only the number of
batches that all ranks have taken, so the numbers of workers and ranks may change.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from spiritlm_pl.data.batching import Indices, Visit, share

Plan = Callable[[int], Sequence[Indices]]


class VisitSampler(DistributedSampler[Visit]):
    """Sampler of the visits of an epoch that belong to this rank, from `first` on.

    Args:
        dataset: dataset that takes a `Visit` as its index.
        plan: returns the batches of an epoch for all ranks.
        rank: number of this process.
        world_size: number of processes that share the batches.
    """

    def __init__(self, dataset: Dataset[Any], plan: Plan, rank: int, world_size: int) -> None:
        """Start at epoch 0."""
        self.dataset = dataset
        self.plan = plan
        self.rank = rank
        self.num_replicas = world_size
        self.epoch = 0
        self.first = 0
        self._length: int | None = None  # the same in every epoch

    def __iter__(self) -> Iterator[Visit]:
        """Return the remaining visits of this epoch."""
        epoch, batches = self.epoch, self.plan(self.epoch)
        places = share(len(batches), self.rank, self.num_replicas)[self.first :]
        return (Visit(epoch, tuple(batches[int(place)].tolist())) for place in places)

    def __len__(self) -> int:
        """Return the number of this rank's visits in a whole epoch."""
        if self._length is None:
            self._length = len(share(len(self.plan(self.epoch)), self.rank, self.num_replicas))
        return self._length


class VisitLoader(DataLoader[Any]):
    """Loader of ready-made batches that can be resumed within an epoch."""

    sampler: VisitSampler

    def __init__(self, dataset: Dataset[Any], sampler: VisitSampler, num_workers: int = 0) -> None:
        """Store dataset and sampler; the dataset returns whole batches.

        Args:
            dataset: dataset that takes a `Visit` as its index and returns a whole batch.
            sampler: sampler of this rank's visits.
            num_workers: number of processes that make batches; 0 makes them in this process.
        """
        super().__init__(dataset, batch_size=None, sampler=sampler, num_workers=num_workers)
        self._taken = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a DataLoader names its private iterator
        """Yield batches, and count them as they are handed out."""
        iterator = super().__iter__()
        self._taken = self.sampler.first
        self.sampler.first = 0  # the next epoch is whole, even if this one is not read to its end
        for batch in iterator:
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return epoch and number of batches that all ranks together have taken in it, the same on every rank."""
        return {"epoch": self.sampler.epoch, "taken": self._taken * self.sampler.num_replicas}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batches that were taken, with the present number of ranks."""
        self.sampler.epoch = state["epoch"]
        first = state["taken"] // self.sampler.num_replicas
        self.sampler.first = 0 if first >= len(self.sampler) else first


def visit_loader(module: LightningDataModule, dataset: Dataset[Any], plan: Plan, num_workers: int) -> VisitLoader:
    """Make a loader for this rank of the trainer to which the data module is attached, if any.

    Args:
        module: data module that the loader belongs to.
        dataset: dataset that takes a `Visit` as its index.
        plan: returns the batches of an epoch for all ranks.
        num_workers: number of processes that make batches; 0 makes them in this process.
    """
    trainer = module.trainer
    rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
    return VisitLoader(dataset, VisitSampler(dataset, plan, rank, world_size), num_workers)
