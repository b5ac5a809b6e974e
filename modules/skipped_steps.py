"""Count the steps that were skipped because a gradient or a batch was not finite, and end a run of too many."""

from torch import Tensor, nn

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class TrainingDivergedError(ValueError):
    """Too many steps in a row, or all of a run, were skipped; the weights are those before the first of them."""


class SkippedSteps:
    """Counts them.

    Args:
        limit: how many in a row are too many (the modules' `max_nonfinite_steps`).

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
        """Note whether a step was skipped.

        Args:
            skipped: whether it was.
            step: which one, for the message.

        Returns:
            how many were skipped in the whole run.

        Raises:
            TrainingDivergedError: if too many were skipped in a row.
        """
        self.in_a_row = self.in_a_row + 1 if skipped else 0
        self.total += skipped
        if self.in_a_row >= self.limit:
            raise TrainingDivergedError(
                f"gradients must be finite, but were not for {self.in_a_row} steps in a row up to step {step}; "
                "they were skipped and the last checkpoint is as it was"
            )
        return float(self.total)

    def finish(self, steps: int) -> str | None:
        """Look back at a whole training.

        Args:
            steps: how many it had, the skipped ones included.

        Returns:
            one line that tells how many were skipped; None where none was.

        Raises:
            TrainingDivergedError: if all were, so that the weights are those of the beginning.
        """
        if not self.total:
            return None
        if self.in_a_row >= steps:
            raise TrainingDivergedError(
                f"gradients must be finite, but were not in any of the {steps} steps: nothing was trained"
            )
        return f"{self.total} of {steps} steps were skipped, as their gradients were not finite"

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        return {"total": self.total, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on counting."""
        self.total, self.in_a_row = state["total"], state["in_a_row"]


class RunningStatistics:
    """A copy of the running means and variances of batch normalisation, which a forward pass changes by itself.

    Args:
        module: whose statistics are kept and put back.
    """

    def __init__(self, module: nn.Module) -> None:
        """Copy what there is."""
        self.buffers: list[Tensor] = [
            buffer for part in module.modules() if isinstance(part, BATCH_NORMS) for buffer in part.buffers(False)
        ]
        self.keep()

    def keep(self) -> None:
        """Copy the statistics after a step that was taken."""
        self.copies = [buffer.clone() for buffer in self.buffers]

    def restore(self) -> None:
        """Put back the last copy after a step that was skipped."""
        for buffer, copy in zip(self.buffers, self.copies, strict=True):
            buffer.copy_(copy)
