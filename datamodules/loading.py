"""A sampler and a loader whose whole state is (epoch, batches taken): the speech views share them.

The shuffle is a pure function of seed and epoch, each rank takes its own batches, and the number of batches
that all ranks have taken is all that a checkpoint keeps: workers and ranks may change in number.
"""

from collections.abc import Callable, Iterator
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from spiritlm_pl.data.batching import Indices, Visit, share

Plan = Callable[[int], list[Indices]]


class VisitSampler(DistributedSampler[Visit]):
    """Gives the visits of an epoch that belong to this rank, from `first` on.

    Args:
        dataset: takes a `Visit` as its index.
        plan: batches of an epoch, over all ranks.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, dataset: Dataset[Any], plan: Plan, rank: int, world_size: int) -> None:
        """Start at epoch 0."""
        self.dataset = dataset
        self.plan = plan
        self.rank = rank
        self.num_replicas = world_size
        self.epoch = 0
        self.first = 0

    def __iter__(self) -> Iterator[Visit]:
        """The rest of this epoch."""
        batches = share(self.plan(self.epoch), self.rank, self.num_replicas)[self.first :]
        return iter([Visit(self.epoch, tuple(batch.tolist())) for batch in batches])

    def __len__(self) -> int:
        """Number of visits of this rank in a whole epoch."""
        return len(share(self.plan(self.epoch), self.rank, self.num_replicas))


class VisitLoader(DataLoader[Any]):
    """A loader of ready-made batches that can be resumed inside an epoch."""

    sampler: VisitSampler

    def __init__(self, dataset: Dataset[Any], sampler: VisitSampler, num_workers: int = 0) -> None:
        """Batches come ready from the dataset."""
        super().__init__(dataset, batch_size=None, sampler=sampler, num_workers=num_workers)
        self._taken = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a DataLoader names its private iterator
        """Batches, counted as they are handed out."""
        iterator = super().__iter__()
        self._taken = self.sampler.first
        self.sampler.first = 0  # the next epoch is whole, even if this one is not read to its end
        for batch in iterator:
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Batches that all ranks together have taken in this epoch, the same on every rank."""
        return {"epoch": self.sampler.epoch, "taken": self._taken * self.sampler.num_replicas}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches that were taken, with as many ranks as there are now."""
        self.sampler.epoch = state["epoch"]
        first = state["taken"] // self.sampler.num_replicas
        self.sampler.first = 0 if first >= len(self.sampler) else first


def visit_loader(module: LightningDataModule, dataset: Dataset[Any], plan: Plan, num_workers: int) -> VisitLoader:
    """A loader for this rank of the trainer that the data module is attached to, if any."""
    trainer = module.trainer
    rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
    return VisitLoader(dataset, VisitSampler(dataset, plan, rank, world_size), num_workers)
