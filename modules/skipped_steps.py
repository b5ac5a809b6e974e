"""Counting of steps that were skipped because a gradient or a batch was not finite, with an end after too many."""

from torch import Tensor, nn

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class TrainingDivergedError(ValueError):
    """Error for too many skipped steps in a row, or skipped steps only; the weights are those from before them."""


class SkippedSteps:
    """Counter of skipped steps.

    Args:
        limit: number of skipped steps in a row that ends training (the modules' `max_nonfinite_steps`).

    Raises:
        ValueError: if the limit is below 1.
    """

    def __init__(self, limit: int) -> None:
        """Start with no step skipped."""
        if limit < 1:
            raise ValueError(f"max_nonfinite_steps must be at least 1, but is {limit} instead")
        self.limit = limit
        self.total = 0
        self.in_a_row = 0

    def count(self, skipped: bool, step: int) -> float:
        """Count a step.

        Args:
            skipped: whether the step was skipped.
            step: number of the step, for the message.

        Returns:
            The number of skipped steps in the whole run.

        Raises:
            TrainingDivergedError: if too many steps in a row were skipped.
        """
        self.in_a_row = self.in_a_row + 1 if skipped else 0
        self.total += skipped
        if self.in_a_row >= self.limit:
            raise TrainingDivergedError(
                f"gradients must be finite, but were not for {self.in_a_row} steps in a row up to step {step}; "
                "they were skipped, and the last checkpoint is unchanged"
            )
        return float(self.total)

    def finish(self, steps: int) -> str | None:
        """Report on a finished training.

        Args:
            steps: number of steps of the training, skipped ones included.

        Returns:
            A line that tells how many steps were skipped; None where none was.

        Raises:
            TrainingDivergedError: if all steps were skipped, so that the weights are those of the beginning.
        """
        if not self.total:
            return None
        if self.in_a_row >= steps:
            raise TrainingDivergedError(
                f"gradients must be finite, but were not in any of the {steps} steps: nothing was trained"
            )
        return f"{self.total} of {steps} steps were skipped, as their gradients were not finite"

    def state_dict(self) -> dict[str, int]:
        """Return the counts for a checkpoint."""
        return {"total": self.total, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take over the counts of a checkpoint."""
        self.total, self.in_a_row = state["total"], state["in_a_row"]


class RunningStatistics:
    """Copy of the running means and variances of batch normalisation, which a forward pass changes by itself.

    Args:
        module: module whose statistics are copied and restored.
    """

    def __init__(self, module: nn.Module) -> None:
        """Copy the current statistics."""
        self.buffers: list[Tensor] = [
            buffer for part in module.modules() if isinstance(part, BATCH_NORMS) for buffer in part.buffers(False)
        ]
        self.keep()

    def keep(self) -> None:
        """Copy the statistics after a step that was taken."""
        self.copies = [buffer.clone() for buffer in self.buffers]

    def restore(self) -> None:
        """Restore the last copy after a step that was skipped."""
        for buffer, copy in zip(self.buffers, self.copies, strict=True):
            buffer.copy_(copy)
