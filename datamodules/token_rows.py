"""What all data modules of token rows ask of their trainer: which rows are this rank's, and how many are done."""

from collections.abc import Callable
from functools import partial
from typing import Any

from lightning import Trainer

from spiritlm_pl.data.loading import Share


def share_of(trainer: Trainer | None, batch_size: int) -> Share:
    """Return the share of the rows that this process reads.

    Args:
        trainer: trainer of the data module; None for one process without a trainer.
        batch_size: number of rows, or of pairs, in a batch of one rank.
    """
    if trainer is None:
        return Share(batch_size=batch_size)
    return Share(
        batch_size=batch_size,
        rank=trainer.global_rank,
        world_size=trainer.world_size,
        accumulate=trainer.accumulate_grad_batches,
    )


def processed_by(trainer: Trainer | None) -> Callable[[], int] | None:
    """Return a function that tells how many batches a trainer has ever finished; None without a trainer."""
    return None if trainer is None else partial(_processed, trainer)


def _processed(trainer: Trainer) -> int:
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.total  # declared as its base class
    return int(progress.processed)
