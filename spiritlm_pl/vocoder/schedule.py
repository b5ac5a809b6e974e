"""Learning rate schedule of one cycle: up once and down once over the whole run (Smith and Topin, 2019)."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Half a cosine up to the optimizer's rate and half a cosine down, for a run of any length.

    The factors are those of `torch.optim.lr_scheduler.OneCycleLR`, which has to know the length when it is made.

    Args:
        warmup: share of the run in which the rate grows, in [0, 1).
        first: factor of the rate at the first step.
        last: factor of the rate at the last step.
    """

    warmup: float = 0.3
    first: float = 0.04
    last: float = 4e-6

    def __post_init__(self) -> None:
        """Check the range of the warm-up."""
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup must be in [0, 1), but is {self.warmup} instead")

    def factor(self, step: int, total_steps: int) -> float:
        """Return the factor at a step in [0, total_steps), and the last one for later steps."""
        peak, end = self.warmup * total_steps - 1, total_steps - 1
        if step < peak:
            return half_cosine(self.first, 1.0, step / peak)
        return half_cosine(1.0, self.last, min(1.0, (step - peak) / (end - peak)))


def half_cosine(start: float, end: float, progress: float) -> float:
    """Interpolate along half a cosine from `start` (progress 0) to `end` (progress 1)."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
