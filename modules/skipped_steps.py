"""Steps whose gradients are not finite change nothing; they are counted, and too many in a row end the run."""


class TrainingDivergedError(ValueError):
    """Gradients were not finite too many steps in a row; the weights are those before the first of them."""


class SkippedSteps:
    """Counts them.

    Args:
        limit: how many in a row are too many (the modules' `max_nonfinite_steps`).

    Raises:
        ValueError: if the limit is below 1.
    """

    def __init__(self, limit: int) -> None:
        """Start at none."""
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

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        return {"total": self.total, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on counting."""
        self.total, self.in_a_row = state["total"], state["in_a_row"]
