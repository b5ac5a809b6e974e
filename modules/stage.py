"""What all trained stages share: test measures as validation does, a checkpoint says whose it is, weights can move."""

import math
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.strategies import DeepSpeedStrategy
from lightning.pytorch.utilities import rank_zero_info
from torch.optim import Optimizer

from spiritlm_pl.contracts.check import Contract, checked
from spiritlm_pl.contracts.data_modules import WaveformData
from spiritlm_pl.modules.skipped_steps import RunningStatistics, SkippedSteps

MODULE = "stage_module"  # key of a checkpoint; DeepSpeed has a "module" of its own


def data_of(module: LightningModule, contract: type[Contract]) -> Contract | None:
    """Return the trainer's data module, once it is seen to have all that a module asks of it.

    Args:
        module: which asks.
        contract: one of `spiritlm_pl.contracts.data_modules`.

    Returns:
        The data module; None where the trainer was given loaders without one.

    Raises:
        ValueError: naming the first member of the contract that is missing.
    """
    found = getattr(module.trainer, "datamodule", None)
    return None if found is None else checked(found, contract, "data", module)


def check_sample_rate(module: LightningModule, expected: int) -> None:
    """Refuse a trainer's data of another sample rate than a network's.

    Raises:
        ValueError: with both rates, Hz.
    """
    data = data_of(module, WaveformData)
    if data is not None and data.sample_rate != expected:
        raise ValueError(f"sample_rate of the data must be the network's {expected}, but is {data.sample_rate} instead")


def check_clipping(module: LightningModule) -> None:
    """Refuse to clip gradients by value where the trainer does not clip: DeepSpeed and manual optimization go by norm.

    Raises:
        ValueError: if gradients are to be clipped by value there.
    """
    algorithm = module.trainer.gradient_clip_algorithm
    clips = module.automatic_optimization and not isinstance(module.trainer.strategy, DeepSpeedStrategy)
    if algorithm not in (None, "norm") and not clips:
        raise ValueError(f"gradient_clip_algorithm must be norm, but is {algorithm.value} instead")


class StageModule(LightningModule):
    """A module whose validation hooks serve `test`, too; they log under `self.held_out`."""

    @property
    def held_out(self) -> str:
        """First part of the names of figures: val or test."""
        return "test" if self.trainer.testing else "val"

    def on_fit_start(self) -> None:
        """Refuse weights that an optimizer would leave where they are.

        A number in bfloat16 has 8 significant bits: near 1.0, where norms begin, a step smaller than 0.002 is rounded
        away. DeepSpeed's optimizers keep float32 copies of the weights; plain ones step the weights themselves.

        Raises:
            ValueError: if a weight that is trained is in half precision without DeepSpeed.
        """
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
        """As at validation."""
        self.on_validation_epoch_start()

    def test_step(self, *batch: Any, **named: Any) -> None:
        """As at validation."""
        self.validation_step(*batch, **named)

    def on_test_epoch_end(self) -> None:
        """As at validation."""
        self.on_validation_epoch_end()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the module."""
        checkpoint[MODULE] = type(self).__name__

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check whose checkpoint it is, before its weights are looked at.

        Raises:
            ValueError: if it is not of this module.
        """
        if (found := checkpoint.get(MODULE)) != type(self).__name__:
            raise ValueError(
                f"checkpoint must be of {type(self).__name__}, but is of {found or 'something else'} instead"
            )


class FiniteStepsModule(StageModule):
    """A module whose steps change nothing where the gradient is not finite.

    Skipped steps are counted and logged as `train/skipped_steps`. Too many in a row end the run, and so does a training
    of nothing but skipped steps. Under manual optimization a module leaves out such steps itself and calls
    `count_step` after each.

    Args:
        max_nonfinite_steps: how many steps in a row may be skipped.
    """

    def __init__(self, max_nonfinite_steps: int = 10) -> None:
        """Start with no step skipped."""
        super().__init__()
        self.skipped = SkippedSteps(max_nonfinite_steps)
        self._steps_seen = 0  # of the trainer, when a step was last looked at
        self._statistics: RunningStatistics | None = None

    def on_fit_start(self) -> None:
        """Check the weights as all stages do, and the way of clipping gradients.

        Raises:
            ValueError: if a weight is in half precision, or gradients are to be clipped by value where only their norm
                can be.
        """
        super().on_fit_start()
        check_clipping(self)

    def on_train_start(self) -> None:
        """Begin to watch steps."""
        self._steps_seen = self.trainer.global_step
        self._statistics = RunningStatistics(self)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by norm or by value and log the norm before; drop gradients that are not finite, and count."""
        if getattr(self.trainer.model, "optimizer", None) is not None:
            return  # DeepSpeed clips, and skips for itself
        by_value = gradient_clip_algorithm == "value"
        limit = gradient_clip_val or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), math.inf if by_value else limit)
        finite = bool(norm.isfinite())
        if not finite:
            optimizer.zero_grad(set_to_none=True)
        elif by_value and gradient_clip_val:
            torch.nn.utils.clip_grad_value_(self.parameters(), gradient_clip_val)
        self.count_step(not finite)
        self.log("train/gradient_norm", norm)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After a step's last batch, log DeepSpeed's gradient norm, and count a step that it has skipped."""
        if self.trainer.global_step == self._steps_seen:
            return  # more batches of this step come
        self._steps_seen = self.trainer.global_step
        engine: Any = self.trainer.model
        skipped = getattr(getattr(engine, "optimizer", None), "overflow", None)
        if skipped is not None:  # DeepSpeed looks at the gradients itself
            self.count_step(bool(skipped))
            self.log("train/gradient_norm", float(engine.get_global_grad_norm() or 0.0))

    def count_step(self, skipped: bool) -> None:
        """Count a step and log how many were skipped; the running statistics of a skipped one are put back.

        Args:
            skipped: whether this one was; the same on every rank.

        Raises:
            TrainingDivergedError: if too many were skipped in a row.
        """
        if self._statistics is not None:
            if skipped:
                self._statistics.restore()
            else:
                self._statistics.keep()
        self.log("train/skipped_steps", self.skipped.count(skipped, self.trainer.global_step))

    def on_train_end(self) -> None:
        """Tell how many steps were skipped.

        Raises:
            TrainingDivergedError: if all were.
        """
        told = self.skipped.finish(self.trainer.global_step)
        if told is not None:
            rank_zero_info(told)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the count of skipped steps."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["nonfinite_steps"] = self.skipped.state_dict()  # DeepSpeed has skipped_steps of its own

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting skipped steps; a checkpoint from before they were counted has skipped none."""
        super().on_load_checkpoint(checkpoint)
        self.skipped.load_state_dict(checkpoint.get("nonfinite_steps", {"total": 0, "in_a_row": 0}))
