"""Base classes of all trained stages: tests run as validation does, and checkpoints name their module."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule
from lightning.pytorch.strategies import DeepSpeedStrategy
from lightning.pytorch.utilities import rank_zero_info
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from spiritlm_pl.contracts.check import Contract, checked
from spiritlm_pl.contracts.data_modules import WaveformData
from spiritlm_pl.lm.schedule import Schedule
from spiritlm_pl.modules.skipped_steps import RunningStatistics, SkippedSteps
from spiritlm_pl.runtime.heap import keep_heap

MODULE = "stage_module"  # key in a checkpoint; DeepSpeed uses "module" itself


def data_of(module: LightningModule, contract: type[Contract]) -> Contract | None:
    """Return the trainer's data module after a check that it has all members that a module needs.

    Args:
        module: module of a stage, which needs the members.
        contract: Protocol of the members, from `spiritlm_pl.contracts.data_modules`.

    Returns:
        The data module; None if the trainer was given data loaders without one.

    Raises:
        ValueError: if a member is missing; the message names the first one.
    """
    found = getattr(module.trainer, "datamodule", None)
    return None if found is None else checked(found, contract, "data", module)


def check_sample_rate(module: LightningModule, expected: int) -> None:
    """Refuse data of another sample rate than the network's.

    Args:
        module: module whose trainer has the data.
        expected: sample rate of the network, in Hz.

    Raises:
        ValueError: if the data's sample rate differs.
    """
    data = data_of(module, WaveformData)
    if data is not None and data.sample_rate != expected:
        raise ValueError(f"sample_rate of the data must be the network's {expected}, but is {data.sample_rate} instead")


def check_clipping(module: LightningModule) -> None:
    """Refuse to clip gradients by value with DeepSpeed or manual optimization, which clip only their norm.

    Raises:
        ValueError: if the trainer asks for clipping by value there.
    """
    algorithm = module.trainer.gradient_clip_algorithm
    clips = module.automatic_optimization and not isinstance(module.trainer.strategy, DeepSpeedStrategy)
    if algorithm not in (None, "norm") and not clips:
        raise ValueError(f"gradient_clip_algorithm must be norm, but is {algorithm.value} instead")


def schedule_within(module: LightningModule, schedule: Schedule) -> Schedule:
    """Return the schedule of the learning rate for the trainer's number of steps.

    A callback whose attribute `tells_total_steps` is True, such as `DecayInTime`, may tell it later.

    Args:
        module: module whose trainer has the number of steps.
        schedule: schedule as it was given.

    Raises:
        ValueError: if the rate has to decay by the end of the run, and nothing tells when that is.
    """
    trainer = module.trainer
    filled = schedule.within(trainer.max_steps)
    callbacks: Sequence[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set outside of Trainer's class
    told_later = any(getattr(callback, "tells_total_steps", False) for callback in callbacks)
    if filled.waits_for_length and not told_later:
        raise ValueError(
            "schedule.total_steps must be given where the trainer has no max_steps and no callback DecayInTime, but is "
            "None instead: the learning rate would never decay"
        )
    return filled


def catch_up(module: LightningModule, had: int) -> None:
    """Set the schedule of the learning rate to the trainer's step, where the checkpoint of a resumed run had none.

    Args:
        module: module whose trainer has the schedule, which begins at step 0.
        had: number of schedules in the checkpoint.

    Raises:
        ValueError: if the checkpoint has another number of schedules than the configuration, and it is not known at
            which step each of these would be now.
    """
    schedulers: list[Any] = [config.scheduler for config in module.trainer.lr_scheduler_configs]
    if had == len(schedulers):
        return
    if had or len(schedulers) > 1 or not module.automatic_optimization or not isinstance(schedulers[0], LambdaLR):
        raise ValueError(
            f"checkpoint must have as many schedules of learning rates as the configuration, {len(schedulers)}, but "
            f"has {had}: go on with the configuration that it was trained with"
        )
    [scheduler], step = schedulers, module.trainer.global_step
    scheduler.last_epoch = step
    rates = [rate * factor(step) for rate, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates
    rank_zero_info(f"the checkpoint has no schedule of the learning rate, which goes on as at step {step}")


class StageModule(LightningModule):
    """Module whose validation hooks serve `test` as well; they log under `held_out`."""

    @property
    def held_out(self) -> str:
        """First part of the names of metrics: "val" or "test"."""
        return "test" if self.trainer.testing else "val"

    def on_fit_start(self) -> None:
        """Refuse weights that an optimizer would leave where they are, and keep freed memory between steps on a CPU.

        A number in bfloat16 has 8 significant bits: near 1.0, where norms begin, a step smaller than 0.002 is rounded
        away. DeepSpeed's optimizers keep float32 copies of the weights; plain ones step the weights themselves.

        Raises:
            ValueError: if a weight that is trained is in half precision without DeepSpeed.
        """
        if self.trainer.strategy.root_device.type == "cpu":
            keep_heap()
        if isinstance(self.trainer.strategy, DeepSpeedStrategy):
            return
        for name, weight in self.named_parameters():
            if weight.requires_grad and weight.dtype in (torch.bfloat16, torch.float16):
                kind = str(weight.dtype).removeprefix("torch.")
                raise ValueError(
                    f"weights must be float32 without DeepSpeed, as small steps are lost in half precision, but {name} "
                    f"is {kind} instead; trainer.precision bf16-mixed, and dtype float32 of a language model's "
                    "network, compute in bfloat16 all the same"
                )

    def on_test_epoch_start(self) -> None:
        """Run the validation hook."""
        self.on_validation_epoch_start()

    def test_step(self, *batch: Any, **named: Any) -> None:
        """Run the validation hook."""
        self.validation_step(*batch, **named)

    def on_test_epoch_end(self) -> None:
        """Run the validation hook."""
        self.on_validation_epoch_end()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the name of the module's class."""
        checkpoint[MODULE] = type(self).__name__

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is of this class, before its weights are loaded.

        Raises:
            ValueError: if it is of another class.
        """
        if (found := checkpoint.get(MODULE)) != type(self).__name__:
            raise ValueError(
                f"checkpoint must be of {type(self).__name__}, but is of {found or 'something else'} instead"
            )


class FiniteStepsModule(StageModule):
    """Module whose steps change nothing where the gradient is not finite.

    Skipped steps are counted and logged as `train/skipped_steps`. Too many in a row end the training, and so does a
    training in which every step was skipped. Under manual optimization, a module leaves out such steps itself and calls
    `count_step` after each step.

    Args:
        max_nonfinite_steps: number of skipped steps in a row at which training ends.
    """

    def __init__(self, max_nonfinite_steps: int = 10) -> None:
        """Start with no step skipped."""
        super().__init__()
        self.skipped = SkippedSteps(max_nonfinite_steps)
        self._steps_seen = 0  # `global_step` of the trainer when a step was last counted
        self._statistics: RunningStatistics | None = None
        self._num_schedules: int | None = None  # of the checkpoint that is resumed

    def on_fit_start(self) -> None:
        """Check the weights as all stages do, and the way of clipping gradients.

        Raises:
            ValueError: if a weight is in half precision, or gradients are to be clipped by value where only their norm
                can be.
        """
        super().on_fit_start()
        check_clipping(self)

    def on_train_start(self) -> None:
        """Prepare to count skipped steps, and copy the running statistics that a skipped step restores.

        A schedule that the configuration has got since the checkpoint was written goes on at the step of the run.

        Raises:
            ValueError: if the checkpoint has another number of schedules, and this cannot be done.
        """
        if self._num_schedules is not None:
            catch_up(self, self._num_schedules)
        self._steps_seen = self.trainer.global_step
        self._statistics = RunningStatistics(self)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by norm or by value, and log the norm before; drop gradients that are not finite, and count them."""
        if getattr(self.trainer.model, "optimizer", None) is not None:
            return  # DeepSpeed clips and skips by itself
        by_value = gradient_clip_algorithm == "value"
        limit = gradient_clip_val or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), math.inf if by_value else limit)
        if isinstance(norm, DTensor):  # under FSDP2, a part on each rank
            norm = norm.full_tensor()
        finite = bool(norm.isfinite())
        if not finite:
            optimizer.zero_grad(set_to_none=True)
        elif by_value and gradient_clip_val:
            torch.nn.utils.clip_grad_value_(self.parameters(), gradient_clip_val)
        self.count_step(not finite)
        self.log("train/gradient_norm", norm)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log DeepSpeed's gradient norm after a step's last batch, and count the step if DeepSpeed skipped it."""
        if self.trainer.global_step == self._steps_seen:
            return  # the step has more batches
        self._steps_seen = self.trainer.global_step
        engine: Any = self.trainer.model
        skipped = getattr(getattr(engine, "optimizer", None), "overflow", None)
        if skipped is not None:  # DeepSpeed checks the gradients itself
            self.count_step(bool(skipped))
            self.log("train/gradient_norm", float(engine.get_global_grad_norm() or 0.0))

    def count_step(self, skipped: bool) -> None:
        """Count a step, and log how many were skipped; running statistics of a skipped step are restored.

        Args:
            skipped: whether this step was skipped, the same on every rank.

        Raises:
            TrainingDivergedError: if too many steps in a row were skipped.
        """
        if self._statistics is not None:
            if skipped:
                self._statistics.restore()
            else:
                self._statistics.keep()
        self.log("train/skipped_steps", self.skipped.count(skipped, self.trainer.global_step))

    def on_train_end(self) -> None:
        """Print how many steps were skipped.

        Raises:
            TrainingDivergedError: if all steps were skipped.
        """
        told = self.skipped.finish(self.trainer.global_step)
        if told is not None:
            rank_zero_info(told)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the counts of skipped steps."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["nonfinite_steps"] = self.skipped.state_dict()  # DeepSpeed uses "skipped_steps" itself

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the counts of skipped steps; older checkpoints without counts have skipped none."""
        super().on_load_checkpoint(checkpoint)
        self.skipped.load_state_dict(checkpoint.get("nonfinite_steps", {"total": 0, "in_a_row": 0}))
        schedules = checkpoint.get("lr_schedulers")  # a model without a trainer's state has none
        self._num_schedules = None if schedules is None else len(schedules)
