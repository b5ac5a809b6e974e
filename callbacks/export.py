"""Writes the trained network as a folder that the next stage and `spiritlm generate` load."""

from pathlib import Path
from typing import Protocol, cast

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from spiritlm_pl.callbacks.record_run import write_run_file


class Exporting(Protocol):
    """A module that can be exported."""

    def export(self, folder: str) -> None:
        """Write the network; every rank calls, rank zero writes."""


class ExportNetwork(Callback):
    """Calls the module's `export` when training ends, and names the run in the folder.

    Args:
        dirpath: where to.
    """

    def __init__(self, dirpath: str) -> None:
        """Keep the folder."""
        self.dirpath = dirpath

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Fail before training rather than after it.

        Raises:
            ValueError: if the module cannot be exported.
        """
        if not callable(getattr(pl_module, "export", None)):
            raise ValueError(f"module must have an export method, but is {type(pl_module).__name__} instead")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export; all ranks take part, since shards have to be gathered."""
        cast(Exporting, pl_module).export(self.dirpath)
        trainer.strategy.barrier("export")
        if trainer.is_global_zero:
            write_run_file(Path(self.dirpath), trainer, pl_module)
