"""Decay of the learning rate that ends when the time of a run is over, on whatever machine it runs."""

import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Timer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from spiritlm_pl.lm.schedule import WarmupStableDecay

EVERY = 10  # steps after which several ranks agree about the time that is left, for which they wait for each other
DECAYED = 0.02  # largest share of the peak rate at the end of a run that needs no warning


class DecayInTime(Callback):
    """Callback that ends a run shortly before the trainer's `max_time`, with a learning rate that has gone to zero.

    It watches how long steps take, validation and checkpoints included. When only the share of the run that the
    schedule `WarmupStableDecay` decays in is left, it tells the schedule and the trainer the number of steps that fit.
    If the trainer's `max_steps` come first, or it has no `max_time`, nothing changes. A resumed run keeps the number of
    steps, once it is known. A run that ends before its rate has decayed, since not even the warm-up fitted into its
    time or steps became slower, says so in a warning.

    Args:
        margin: share of the time that is kept for steps that take longer than those before.
        fewest_steps: number of steps that must have been timed before the number is set.
    """

    tells_total_steps = True  # to a schedule that is made without a number of steps

    def __init__(self, margin: float = 0.02, fewest_steps: int = 20) -> None:
        """Keep the settings.

        Raises:
            ValueError: if one is out of range.
        """
        if not 0 <= margin < 1:
            raise ValueError(f"margin must be in [0, 1), but is {margin} instead")
        if fewest_steps < 2:
            raise ValueError(f"fewest_steps must be at least 2, but is {fewest_steps} instead")
        self.margin, self.fewest_steps = margin, fewest_steps
        self.total_steps: int | None = None
        self._seen = 0  # last step that was looked at; a step may have several batches
        self._ends: list[
            tuple[int, float]
        ] = []  # steps, and when they ended; the first one also compiles and allocates

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps of the run; None as long as it is not set."""
        return {"total_steps": self.total_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of steps."""
        self.total_steps = state_dict["total_steps"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the schedule, and set the number of steps again in a resumed run.

        Raises:
            ValueError: if the learning rate follows another schedule, or nothing tells when the run ends.
        """
        if _schedule(trainer).total_steps is None and _timer(trainer) is None:
            raise ValueError(
                "trainer.max_time or trainer.max_steps must be given for DecayInTime, but both are missing: the "
                "learning rate would never decay"
            )
        self._ends.clear()
        if self.total_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps = self.total_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Set the number of steps as soon as the decay has to begin."""
        step, timer = trainer.global_step, _timer(trainer)
        if timer is None or self.total_steps is not None or step == self._seen:
            return
        self._seen = step
        self._ends.append((step, time.monotonic()))
        schedule = _schedule(trainer)
        timed = step - self._ends[0][0]
        if timed < self.fewest_steps or step < schedule.warmup_steps or step >= schedule.decay_start:
            return
        if trainer.world_size > 1 and step % EVERY:
            return
        before, then = self._ends[len(self._ends) // 2]  # the later half tells more about the steps to come
        seconds = (time.monotonic() - then) / (step - before)
        total = step + ((timer.time_remaining() or 0.0) - self.margin * _duration(timer)) / seconds
        total = float(trainer.strategy.broadcast(total))  # all ranks must decide alike
        if step < schedule.start_within(total) or (schedule.total_steps or total + 1) <= total:
            return
        self.total_steps = max(step + 1, int(total))
        schedule.total_steps = self.total_steps
        trainer.fit_loop.epoch_loop.max_steps = self.total_steps
        rank_zero_info(f"the learning rate decays from now on: the run ends after step {self.total_steps}, in its time")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn of a learning rate that is far from zero at the end."""
        step = trainer.global_step
        factor = _schedule(trainer)(step)
        if factor > DECAYED:
            rank_zero_warn(
                f"the training ended after step {step} at {factor:.0%} of its peak learning rate, which should have "
                "decayed to zero: give trainer.max_time more time, or the schedule fewer warmup_steps"
            )


def _schedule(trainer: Trainer) -> WarmupStableDecay:
    """Return the schedule of the run, which the learning rate scheduler has its own copy of."""
    for config in trainer.lr_scheduler_configs:
        for schedule in getattr(config.scheduler, "lr_lambdas", ()):
            if isinstance(schedule, WarmupStableDecay):
                return schedule
    raise ValueError("model.init_args.schedule must be WarmupStableDecay for DecayInTime, but is another one instead")


def _timer(trainer: Trainer) -> Timer | None:
    """Return what ends the run at the trainer's `max_time`; None if it has none."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set outside of Trainer's class
    timers = [one for one in callbacks if isinstance(one, Timer) and one.time_remaining() is not None]
    return timers[0] if timers else None


def _duration(timer: Timer) -> float:
    return (timer.time_remaining() or 0.0) + timer.time_elapsed()
