"""Callback that measures a language model on held-out items at every validation and test."""

from abc import ABC, abstractmethod

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class HeldOutMeasurement(Callback, ABC):
    """Callback that reads its items before training, and measures at every validation and test."""

    @abstractmethod
    def prepare_items(self, pl_module: LightningModule) -> None:
        """Read the items, if they have not been read yet; errors in them appear here, before training.

        Args:
            pl_module: module whose network is measured.
        """

    @abstractmethod
    def measure(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Measure and log the figures.

        Args:
            trainer: trainer that runs the module.
            pl_module: module whose network is measured.
            stage: beginning of the names of the figures: "val" or "test".
        """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the items, so that errors in them appear before training."""
        self.prepare_items(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure at validation, but not in the sanity check."""
        if not trainer.sanity_checking:
            self.measure(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure at the end of a test."""
        self.measure(trainer, pl_module, "test")
