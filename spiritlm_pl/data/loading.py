"""Loading of batches of packed rows: batch i of a rank depends on (seed, i, rank) only, so workers have no state.

Micro-batch i of the run takes rows [i * W * B, (i + 1) * W * B) of the mixture, and rank r the r-th share of them. To
resume, only the number of rows consumed has to be known. It is the same on every rank, and still exact when the number
of ranks, the batch size or the number of workers changes. Seed, options and hashes of manifests are saved with it and
compared, because with other data row p would be another row. Only whole optimizer steps count: the gradients of an
unfinished step are lost with the process, so the step is repeated.

Shapes: B rows of a rank's batch, W ranks, T row length.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.data.block_stream import AnyStream
from spiritlm_pl.data.collate import collate
from spiritlm_pl.data.packing import Rows

TURNS = "turns"  # key in the identity of data whose streams take turns that earlier versions did not know
VALIDATION_STEP = -1  # `TokenBatch.step` of batches that belong to no optimizer step


@dataclass(frozen=True, kw_only=True)
class Share:
    """Share of the rows that this process reads.

    Args:
        batch_size: number of rows in a batch of one rank, B.
        rank: number of this process.
        world_size: number of processes, W.
        accumulate: number of batches in one optimizer step.
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
        """Number of rows in one batch of all ranks together."""
        return self.batch_size * self.world_size

    def rows(self, base: int, batch: int) -> tuple[int, int]:
        """Return first and end row of this rank's batch, counted from row `base`."""
        first = base + batch * self.rows_per_batch + self.rank * self.batch_size
        return first, first + self.batch_size


class RowSource(Protocol):
    """Endless sequence of what batches are made from, such as a mixture of packed rows."""

    def rows(self, first: int, end: int) -> Any:
        """Return the rows [first, end) of the run."""
        ...


@dataclass(frozen=True, eq=False)
class _TrainingRows(Dataset[Any]):
    mixture: RowSource
    share: Share
    base: int

    def __getitem__(self, batch: int) -> Any:
        return self.mixture.rows(*self.share.rows(self.base, batch))


@dataclass(frozen=True, eq=False)
class _EvaluationRows(Dataset[Rows]):
    stream: AnyStream
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


def _loader(dataset: Dataset[Any], batches: range, num_workers: int) -> DataLoader[Any]:
    return DataLoader(dataset, batch_size=None, sampler=batches, num_workers=num_workers, collate_fn=_compact)


class TrainingLoader:
    """Endless pass over a mixture, in epochs of a fixed number of batches, which can be saved and resumed."""

    def __init__(
        self,
        mixture: RowSource,
        share: Share,
        *,
        length: int,
        predicted: Tensor | None = None,
        num_workers: int = 0,
        identity: dict[str, Any] | None = None,
        processed: Callable[[], int] | None = None,
    ) -> None:
        """Store the settings; nothing is read yet.

        Args:
            mixture: mixture whose rows are read.
            share: share of the rows that this rank reads.
            length: number of batches in one epoch of the trainer.
            predicted: mask over token ids (num_rows,), True for those that are predicted, from `LossOn.table`; None for
                a class with a `batch` of its own.
            num_workers: number of processes that make rows; 0 makes them in this process.
            identity: values that must be the same at saving and loading (seed, options, hashes of manifests).
            processed: function that returns the number of batches that the trainer has ever finished, earlier runs
                included. None counts a batch as consumed when it is handed out, so that one cut off by an interrupt is
                lost.
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
        self.handed_out = 0  # batches since the base row
        self._processed_before = self._processed() if self._processed else 0

    @property
    def rows_per_step(self) -> int:
        """Number of rows of all ranks together in one optimizer step."""
        return self.share.accumulate * self.share.rows_per_batch

    def __len__(self) -> int:
        """Return the number of batches in one epoch."""
        return self.length

    def __iter__(self) -> Iterator[TokenBatch]:
        """Yield the batches of the next epoch, which begins where the last one ended."""
        first = self.handed_out
        dataset = _TrainingRows(self.mixture, self.share, self.base_row)
        for rows in _loader(dataset, range(first, first + self.length), self.num_workers):
            step = self.base_step + self.handed_out // self.share.accumulate
            self.handed_out += 1
            yield self.batch(rows, step)

    def batch(self, rows: Any, step: int) -> TokenBatch:
        """Make the batch of some rows.

        Args:
            rows: what the mixture has returned.
            step: number of the optimizer step that the batch is for.
        """
        assert self.predicted is not None
        return collate(rows, step, self.predicted)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of rows and whole steps consumed, the same on every rank, and the identity of the data."""
        batches = self._processed() - self._processed_before if self._processed else self.handed_out
        steps = batches // self.share.accumulate
        return {
            "rows": self.base_row + steps * self.rows_per_step,
            "step": self.base_step + steps,
            "rows_per_step": self.rows_per_step,
            "identity": self.identity,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the whole steps of a saved state; rank zero warns if a step has another number of rows now.

        Raises:
            ValueError: if the data, the seed or an option of the data differ from those of the saved run.
        """
        saved = state["identity"]
        if TURNS in self.identity and TURNS not in saved and saved:
            raise ValueError(
                "the checkpoint must have been trained with the shares that the streams' weights ask for, but an "
                "earlier version mixed them in others: begin a new training with its model as the checkpoint"
            )
        for name in sorted({*saved, *self.identity}):
            if saved.get(name) != self.identity.get(name):
                raise ValueError(
                    f"{name} must be what the checkpoint was trained with, {saved.get(name)!r}, "
                    f"but is {self.identity.get(name)!r} instead"
                )
        before = state.get("rows_per_step", self.rows_per_step)  # absent in older checkpoints
        if before != self.rows_per_step and self.share.rank == 0:
            warnings.warn(
                f"a step has {self.rows_per_step} rows from here on, but had {before} before: ranks x batch_size x "
                "accumulate_grad_batches is their number",
                stacklevel=2,
            )
        self._start(row=state["rows"], step=state["step"])


class EvaluationLoader:
    """One fixed pass over a stream in which each row occurs once; ranks that run out of rows get padding."""

    def __init__(
        self, stream: AnyStream, share: Share, *, predicted: Tensor, num_rows: int | None = None, num_workers: int = 0
    ) -> None:
        """Store the settings.

        Args:
            stream: stream whose rows are read.
            share: share of the rows that this rank reads.
            predicted: mask over token ids (num_rows,), True for those that are predicted, from `LossOn.table`.
            num_rows: number of rows to read, from the first on; None reads the whole stream.
            num_workers: number of processes that make rows; 0 makes them in this process.
        """
        if num_rows is not None and num_rows < 1:
            raise ValueError(f"num_rows must be at least 1, but is {num_rows} instead")
        self.num_rows = stream.rows_per_epoch if num_rows is None else min(num_rows, stream.rows_per_epoch)
        self.stream, self.share, self.predicted, self.num_workers = stream, share, predicted, num_workers

    def __len__(self) -> int:
        """Return the number of batches, the same on every rank."""
        return -(-self.num_rows // self.share.rows_per_batch)

    def __iter__(self) -> Iterator[TokenBatch]:
        """Yield all batches of this rank."""
        dataset = _EvaluationRows(self.stream, self.share, self.num_rows)
        for rows in _loader(dataset, range(len(self)), self.num_workers):
            yield collate(rows, VALIDATION_STEP, self.predicted)
