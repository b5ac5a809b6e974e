"""What all trained stages share: test measures as validation does, and a checkpoint says whose it is."""

from typing import Any

from lightning import LightningModule

MODULE = "stage_module"  # key of a checkpoint; DeepSpeed has a "module" of its own


class StageModule(LightningModule):
    """A module whose validation hooks serve `test`, too; they log under `self.held_out`."""

    @property
    def held_out(self) -> str:
        """First part of the names of figures: val or test."""
        return "test" if self.trainer.testing else "val"

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
