"""Learning rate schedules, as factors of the peak rate. Spirit LM keeps the rate constant (App. A of the paper)."""

import math
from abc import ABC, abstractmethod
from copy import copy


class Schedule(ABC):
    """Factor of the learning rate over steps, beginning with a linear warm-up."""

    def __init__(self, warmup_steps: int = 2000) -> None:
        """Set the warm-up.

        Args:
            warmup_steps: number of steps of linear growth; step 0 already has the factor 1 / warmup_steps.
        """
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must be at least 0, but is {warmup_steps} instead")
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        """Return the factor at an optimizer step, counted from 0."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        return self.after_warmup(step)

    def within(self, max_steps: int) -> "Schedule":
        """Return the schedule for a run of `max_steps` steps, -1 for no limit; by default the same one."""
        return self

    @property
    def waits_for_length(self) -> bool:
        """Whether the rate has to decay by the end of the run, and nothing has told yet when that is."""
        return False

    @abstractmethod
    def after_warmup(self, step: int) -> float:
        """Return the factor at a step after the warm-up."""


class Constant(Schedule):
    """Warm-up, then the peak rate throughout (the published schedule; 2,000 warm-up steps are chosen here)."""

    def after_warmup(self, step: int) -> float:
        """Return 1."""
        return 1.0


class Cosine(Schedule):
    """Warm-up, then half a cosine down to a floor (Loshchilov & Hutter, 2017)."""

    def __init__(self, total_steps: int | None = None, warmup_steps: int = 2000, floor: float = 0.1) -> None:
        """Set the length.

        Args:
            total_steps: step at which the floor is reached. None takes the last step of the run; a resumed run keeps
                the length with which it began.
            warmup_steps: number of steps of linear growth.
            floor: final factor, in [0, 1].
        """
        super().__init__(warmup_steps)
        if total_steps is not None and total_steps <= warmup_steps:
            raise ValueError(f"total_steps must be above warmup_steps {warmup_steps}, but is {total_steps}")
        if not 0 <= floor <= 1:
            raise ValueError(f"floor must be in [0, 1], but is {floor} instead")
        self.total_steps = total_steps
        self.floor = floor

    def within(self, max_steps: int) -> "Cosine":
        """Return the schedule for a run of `max_steps` steps; one shorter than the warm-up never reaches its end.

        Raises:
            ValueError: if neither the schedule nor the run has a length (`max_steps` is -1).
        """
        if self.total_steps is not None:
            return self
        filled = copy(self)
        filled.total_steps = self._known_length(max_steps if max_steps > 0 else None)
        return filled

    @staticmethod
    def _known_length(total_steps: int | None) -> int:
        if total_steps is None:
            raise ValueError("total_steps must be given where the trainer has no max_steps, but is None instead")
        return total_steps

    def after_warmup(self, step: int) -> float:
        """Return half a cosine from 1 to the floor, and the floor after that."""
        total_steps = self._known_length(self.total_steps)
        progress = min(1.0, (step - self.warmup_steps) / max(1, total_steps - self.warmup_steps))
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


class WarmupStableDecay(Schedule):
    """Warm-up, then the peak rate, then a straight line to zero at the end of the run (Hu et al., 2024).

    The rate does not depend on the length of the run until the decay begins, so that the length may be known late, as
    where a run has a time to end at (`spiritlm_pl.callbacks.decay_in_time`). A decay of 1 is a line to zero throughout.
    """

    def __init__(self, total_steps: int | None = None, warmup_steps: int = 2000, decay: float = 0.2) -> None:
        """Set the length.

        Args:
            total_steps: number of steps of the run. None takes that of the trainer; a resumed run keeps the length with
                which it began.
            warmup_steps: number of steps of linear growth.
            decay: share of the run in which the rate goes to zero, above 0 and at most 1; it begins after the warm-up.
        """
        super().__init__(warmup_steps)
        if total_steps is not None and total_steps <= warmup_steps:
            raise ValueError(f"total_steps must be above warmup_steps {warmup_steps}, but is {total_steps}")
        if not 0 < decay <= 1:
            raise ValueError(f"decay must be above 0 and at most 1, but is {decay} instead")
        self.total_steps = total_steps
        self.decay = decay

    def within(self, max_steps: int) -> "WarmupStableDecay":
        """Return the schedule for a run of `max_steps` steps, -1 for one whose length is not known yet."""
        if self.total_steps is not None or max_steps <= 0:
            return self
        filled = copy(self)
        filled.total_steps = max_steps
        return filled

    @property
    def waits_for_length(self) -> bool:
        """Whether the number of steps of the run is not known yet."""
        return self.total_steps is None

    @property
    def decay_start(self) -> float:
        """Step at which the decay begins, counted from 0; infinite as long as the length is not known."""
        return math.inf if self.total_steps is None else self.start_within(self.total_steps)

    def start_within(self, total_steps: float) -> float:
        """Return the step at which the decay begins in a run of so many steps."""
        return max(float(self.warmup_steps), (1 - self.decay) * total_steps)

    def after_warmup(self, step: int) -> float:
        """Return 1 before the decay, then the share of its steps that are left, and 0 after the end."""
        if self.total_steps is None or step < self.decay_start:
            return 1.0
        return max(0.0, (self.total_steps - step) / max(1.0, self.total_steps - self.decay_start))
