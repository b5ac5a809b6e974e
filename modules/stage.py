"""What all trained stages share: test measures as validation does, a checkpoint says whose it is, weights can move."""

import math
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.strategies import DeepSpeedStrategy
from torch.optim import Optimizer

from spiritlm_pl.modules.skipped_steps import SkippedSteps

MODULE = "stage_module"  # key of a checkpoint; DeepSpeed has a "module" of its own


def check_sample_rate(module: LightningModule, expected: int) -> None:
    """Refuse a trainer's data of another sample rate than a network's.

    Raises:
        ValueError: with both rates, Hz.
    """
    found = getattr(getattr(module.trainer, "datamodule", None), "sample_rate", expected)
    if found != expected:
        raise ValueError(f"sample_rate of the data must be the network's {expected}, but is {found} instead")


def check_clipping(module: LightningModule) -> None:
    """Refuse another way of clipping gradients than that of modules which clip for themselves.

    Raises:
        ValueError: if gradients are to be clipped by value.
    """
    algorithm = module.trainer.gradient_clip_algorithm
    if algorithm not in (None, "norm"):
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
    """A module whose steps change nothing where the gradient is not finite; under manual optimization it sees to that.

    Args:
        max_nonfinite_steps: how many steps in a row may be skipped.
    """

    def __init__(self, max_nonfinite_steps: int = 10) -> None:
        """Skipped none."""
        super().__init__()
        self.skipped = SkippedSteps(max_nonfinite_steps)

    def on_fit_start(self) -> None:
        """As all stages, and gradients are clipped by norm alone.

        Raises:
            ValueError: if a weight is in half precision, or gradients are to be clipped by value.
        """
        super().on_fit_start()
        check_clipping(self)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by norm and log it; drop gradients that are not finite, and count."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val or math.inf)
        finite = bool(norm.isfinite())
        if not finite:
            optimizer.zero_grad(set_to_none=True)
        self.log("train/skipped_steps", self.skipped.count(not finite, self.trainer.global_step))
        self.log("train/gradient_norm", norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the count of skipped steps."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["nonfinite_steps"] = self.skipped.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting skipped steps."""
        super().on_load_checkpoint(checkpoint)
        self.skipped.load_state_dict(checkpoint["nonfinite_steps"])
