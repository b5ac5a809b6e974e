"""Testing as validating: the same measures, on the test split, logged as `test/...` in place of `val/...`."""

from typing import Any

from lightning import LightningModule


class HeldOutModule(LightningModule):
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
