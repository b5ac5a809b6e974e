"""Batches of packed rows: batch i of a rank is a pure function of (seed, i, rank), so workers carry no state.

Micro-batch i of the run takes rows [i * W * B, (i + 1) * W * B) of the mixture, rank r the r-th share of
them. What has to be remembered to go on is the number of rows consumed; it is the same on every rank, and
still exact when the number of ranks, the batch size or the number of workers changes. Seed, options and
manifest hashes are kept with it and compared, because with other data row p would be another row. Only whole
optimizer steps count: the gradients of a step's first batches are lost with the process, and it is done again.

Shapes: B rows of a rank's batch, W ranks, T row length.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.data.collate import collate
from spiritlm_pl.data.mixture import Mixture
from spiritlm_pl.data.packing import Rows
from spiritlm_pl.data.stream import TokenStream

VALIDATION_STEP = -1  # `TokenBatch.step` of batches that belong to no optimizer step


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which rows are this process's.

    Args:
        batch_size: B, rows of one batch of one rank.
        rank: this process.
        world_size: W, number of processes.
        accumulate: batches that make one optimizer step.
    """

    batch_size: int
    rank: int = 0
    world_size: int = 1
    accumulate: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, but is {self.batch_size} instead")

    @property
    def rows_per_batch(self) -> int:
        """Rows of one batch on all ranks."""
        return self.batch_size * self.world_size

    def rows(self, base: int, batch: int) -> tuple[int, int]:
        """First and end row of this rank's batch, counted from row `base`."""
        first = base + batch * self.rows_per_batch + self.rank * self.batch_size
        return first, first + self.batch_size


@dataclass(frozen=True, eq=False)
class _TrainingRows(Dataset[Rows]):
    mixture: Mixture
    share: Share
    base: int

    def __getitem__(self, batch: int) -> Rows:
        return self.mixture.rows(*self.share.rows(self.base, batch))


@dataclass(frozen=True, eq=False)
class _EvaluationRows(Dataset[Rows]):
    stream: TokenStream
    share: Share
    num_rows: int

    def __getitem__(self, batch: int) -> Rows:
        first, end = (min(row, self.num_rows) for row in self.share.rows(0, batch))
        missing = self.share.batch_size - (end - first)
        parts = [self.stream.rows(first, end)] if first < end else []
        if missing:
            parts.append(Rows.empty(missing, self.stream.row_length, self.stream.dtype))
        return Rows.concatenate(parts)


def _compact(rows: Any) -> Any:
    return rows


def _loader(dataset: Dataset[Rows], batches: range, num_workers: int) -> DataLoader[Rows]:
    return DataLoader(dataset, batch_size=None, sampler=batches, num_workers=num_workers, collate_fn=_compact)


class TrainingLoader:
    """An endless run over a mixture, in epochs of a fixed number of batches, to be left and taken up."""

    def __init__(
        self,
        mixture: Mixture,
        share: Share,
        *,
        length: int,
        predicted: Tensor,
        num_workers: int = 0,
        identity: dict[str, Any] | None = None,
        processed: Callable[[], int] | None = None,
    ) -> None:
        """Wire a loader; nothing is read yet.

        Args:
            mixture: where rows come from.
            share: this rank's part.
            length: batches of one epoch of the trainer.
            predicted: (num_rows,) bool, `LossOn.table`.
            num_workers: processes that make rows; 0 makes them here.
            identity: what must not change between saving and loading (seed, options, manifest hashes).
            processed: batches the trainer has finished, in all its life; without it a batch counts as
                consumed when it is handed out, and one that an interrupt cut off is lost.
        """
        if length < 1:
            raise ValueError(f"length must be at least 1, but is {length} instead")
        self.mixture, self.share, self.length, self.predicted = mixture, share, length, predicted
        self.num_workers = num_workers
        self.identity = identity or {}
        self._processed = processed
        self._start(row=0, step=0)

    def _start(self, row: int, step: int) -> None:
        self.base_row, self.base_step = row, step
        self.handed_out = 0  # batches since the base
        self._processed_before = self._processed() if self._processed else 0

    def __len__(self) -> int:
        """Batches of one epoch."""
        return self.length

    def __iter__(self) -> Iterator[TokenBatch]:
        """The next epoch's batches, from where the last one ended."""
        first = self.handed_out
        dataset = _TrainingRows(self.mixture, self.share, self.base_row)
        for rows in _loader(dataset, range(first, first + self.length), self.num_workers):
            step = self.base_step + self.handed_out // self.share.accumulate
            self.handed_out += 1
            yield collate(rows, step, self.predicted)

    def state_dict(self) -> dict[str, Any]:
        """Rows and whole steps consumed, the same on every rank, and what they are rows of."""
        batches = self._processed() - self._processed_before if self._processed else self.handed_out
        steps = batches // self.share.accumulate
        return {
            "rows": self.base_row + steps * self.share.accumulate * self.share.rows_per_batch,
            "step": self.base_step + steps,
            "identity": self.identity,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the whole steps of a saved state.

        Raises:
            ValueError: if the data, the seed or an option of the data are not those of the saved run.
        """
        saved = state["identity"]
        for name in sorted({*saved, *self.identity}):
            if saved.get(name) != self.identity.get(name):
                raise ValueError(
                    f"{name} must be what the checkpoint was trained with, {saved.get(name)!r}, "
                    f"but is {self.identity.get(name)!r} instead"
                )
        self._start(row=state["rows"], step=state["step"])


class EvaluationLoader:
    """A fixed draw of one stream, every row once; ranks that run out of rows get padding."""

    def __init__(
        self, stream: TokenStream, share: Share, *, predicted: Tensor, num_rows: int | None = None, num_workers: int = 0
    ) -> None:
        """Wire a loader.

        Args:
            stream: where rows come from.
            share: this rank's part.
            predicted: (num_rows,) bool, `LossOn.table`.
            num_rows: the first so many rows only.
            num_workers: processes that make rows.
        """
        if num_rows is not None and num_rows < 1:
            raise ValueError(f"num_rows must be at least 1, but is {num_rows} instead")
        self.num_rows = stream.rows_per_epoch if num_rows is None else min(num_rows, stream.rows_per_epoch)
        self.stream, self.share, self.predicted, self.num_workers = stream, share, predicted, num_workers

    def __len__(self) -> int:
        """Batches, as many on every rank."""
        return -(-self.num_rows // self.share.rows_per_batch)

    def __iter__(self) -> Iterator[TokenBatch]:
        """All batches of this rank."""
        dataset = _EvaluationRows(self.stream, self.share, self.num_rows)
        for rows in _loader(dataset, range(len(self)), self.num_workers):
            yield collate(rows, VALIDATION_STEP, self.predicted)
