"""A learning rate that goes up once and down once over the whole run (Smith and Topin, 2019)."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Half a cosine up to the optimizer's rate and half a cosine down, whatever the length of the run.

    The factors are those of `torch.optim.lr_scheduler.OneCycleLR`, which must be told the length beforehand.

    Args:
        warmup: share of the run in which the rate grows.
        first: factor at the first step.
        last: factor at the last step.
    """

    warmup: float = 0.3
    first: float = 0.04
    last: float = 4e-6

    def __post_init__(self) -> None:
        """Check the share."""
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup must be in [0, 1), but is {self.warmup} instead")

    def factor(self, step: int, total_steps: int) -> float:
        """Factor at a step in [0, total_steps); the last one stays."""
        peak, end = self.warmup * total_steps - 1, total_steps - 1
        if step < peak:
            return half_cosine(self.first, 1.0, step / peak)
        return half_cosine(1.0, self.last, min(1.0, (step - peak) / (end - peak)))


def half_cosine(start: float, end: float, progress: float) -> float:
    """From start to end as progress goes from 0 to 1."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
