"""Callback that writes the trained network as a folder, which the next stage and `spiritlm generate` load."""

import json
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import cast

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info

from spiritlm_pl.callbacks.evaluation_context import on_rank_zero
from spiritlm_pl.callbacks.record_run import write_run_file
from spiritlm_pl.contracts.check import checked
from spiritlm_pl.contracts.modules import ExportingModule
from spiritlm_pl.runtime.checkpoint import METRICS_FILE
from spiritlm_pl.runtime.claims import WrittenByAnother, only_writer
from spiritlm_pl.runtime.found import check_writable
from spiritlm_pl.runtime.provenance import atomic_path


class ExportNetwork(Callback):
    """Callback that calls the module's `export` when a fit ends, even if the fit had no steps left to do.

    The run and its last metrics are also written to the folder. From the beginning of the fit to its end, no other fit
    may export to it; rank zero claims it for all ranks. A fit that has lost the folder to another one leaves it alone.

    Args:
        dirpath: folder to write; None for the folder `export` in the trainer's `default_root_dir`.
    """

    def __init__(self, dirpath: str | None = None) -> None:
        """Keep the folder."""
        self.dirpath = dirpath
        self._claim: ExitStack | None = None
        self._check: Callable[[], None] | None = None  # no function of here: `ddp_spawn` pickles the callback

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check before training that the module can be exported, and tell if it will replace what is in the folder.

        Raises:
            ValueError: on all ranks, if the module cannot be exported, or not to this folder, another fit exports to
                it, or nothing can be written there.
        """
        checked(pl_module, ExportingModule, "module", self)
        check = getattr(pl_module, "check_export", None)  # of modules that do not write to every folder
        if check is not None and stage == "fit":
            check(str(self._folder(trainer)))
        if stage == "fit":
            on_rank_zero(trainer, lambda: self._take(self._folder(trainer)))
        if stage == "fit" and (self._folder(trainer) / METRICS_FILE).is_file():
            rank_zero_info(f"{self._folder(trainer)} holds the network of an earlier training, which this one replaces")

    def _take(self, folder: Path) -> None:
        """Claim a folder that can be written."""
        argument = f"dirpath of {type(self).__name__}"
        check_writable(folder, argument)
        claim = ExitStack()
        self._check = claim.enter_context(only_writer(folder, argument, beside=True))
        self._claim = claim

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export the network; all ranks take part, since sharded weights have to be gathered.

        Raises:
            ValueError: on all ranks, before anything is written, if another fit has begun to export to the folder while
                this one stood still.
        """
        folder = self._folder(trainer)
        lost = None
        if trainer.is_global_zero and self._check is not None:
            try:
                self._check()
            except WrittenByAnother as error:
                lost = str(error)
        lost = trainer.strategy.broadcast(lost)  # before the others wait for rank zero in the gathering of weights
        if lost is not None:
            raise WrittenByAnother(lost)
        cast(ExportingModule, pl_module).export(str(folder))
        trainer.strategy.barrier("export")
        if trainer.is_global_zero:
            write_run_file(folder, trainer, pl_module)
            figures = {name: value.item() for name, value in sorted(trainer.callback_metrics.items())}
            if not figures:  # no step was left to do, so the metrics of the earlier training stay
                return
            with atomic_path(folder / METRICS_FILE) as path:
                path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the folder back.

        Raises:
            ValueError: if another fit has begun to export to it while this one stood still.
        """
        if self._claim is not None:
            claim, self._claim, self._check = self._claim, None, None
            claim.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the folder back; what has ended the fit is told, and nothing else."""
        with suppress(ValueError):
            self.teardown(trainer, pl_module, "fit")

    def _folder(self, trainer: Trainer) -> Path:
        return Path(self.dirpath or Path(trainer.default_root_dir) / "export")
