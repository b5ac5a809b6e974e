"""Checkpoint callback that trains on where a checkpoint cannot be written, and keeps the last good ones then."""

import copy
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from spiritlm_pl.callbacks.evaluation_context import on_rank_zero
from spiritlm_pl.modules.sharded_saving import ShardSaving
from spiritlm_pl.runtime.checkpoint import is_of_writing
from spiritlm_pl.runtime.claims import only_writer
from spiritlm_pl.runtime.found import check_writable

STATE = (  # what Lightning changes before it saves
    "best_k_models",
    "best_model_path",
    "best_model_score",
    "current_score",
    "kth_best_model_path",
    "kth_value",
    "last_model_path",
)


class NotSavedError(OSError):
    """Error of a checkpoint that some rank could not write."""


class PatientCheckpoint(ModelCheckpoint):
    """`ModelCheckpoint` that warns where a checkpoint cannot be written, as on a full disk, and tries again next time.

    Earlier checkpoints stay, as none is removed before another one is whole. A strategy that saves in the background
    tells with the next checkpoint, or at the end, that one was not saved. From the beginning of a fit to its end, no
    other fit may save to its folder; rank zero claims it for all ranks.

    Attributes:
        argument: name of the argument that gives its folder, for errors.
    """

    argument: str = "dirpath of ModelCheckpoint"
    _claim: ExitStack | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Claim the folder for a fit.

        Raises:
            ValueError: on all ranks, if another fit saves to it, or nothing can be written there.
        """
        super().setup(trainer, pl_module, stage)
        saves = not getattr(trainer, "fast_dev_run", False) and (self.save_top_k != 0 or self.save_last)
        if saves and stage == "fit" and self.dirpath and "://" not in str(self.dirpath):
            self._claim = on_rank_zero(trainer, lambda: self._claimed(str(self.dirpath)))

    def _claimed(self, folder: str) -> ExitStack:
        check_writable(folder, self.argument)
        claim = ExitStack()
        claim.enter_context(only_writer(folder, self.argument, beside=True))
        return claim

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the folder back.

        Raises:
            ValueError: if another fit has begun to save to it while this one stood still.
        """
        super().teardown(trainer, pl_module, stage)
        if self._claim is not None:
            claim, self._claim = self._claim, None
            claim.close()

    @property
    def state_key(self) -> str:
        """Key of Lightning's own callback, so that checkpoints fit both."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def on_train_batch_end(self, trainer: Trainer, *batch: Any, **named: Any) -> None:
        """Save if it is time, and go on in any case."""
        self._try(super().on_train_batch_end, trainer, *batch, **named)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if it is time, and go on in any case."""
        self._try(super().on_train_epoch_end, trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if it is time, and go on in any case."""
        self._try(super().on_validation_end, trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last checkpoint if there is none yet, and go on in any case."""
        self._try(super().on_train_end, trainer, pl_module)
        saving = saving_of(trainer)
        if saving is not None:
            saving.finish()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save what there is if that is asked for; the error itself is what the user sees in any case."""
        self._try(super().on_exception, trainer, pl_module, exception)
        with suppress(ValueError):
            self.teardown(trainer, pl_module, "fit")

    def _try(self, save: Callable[..., None], trainer: Trainer, *given: Any, **named: Any) -> None:
        try:
            save(trainer, *given, **named)
        except NotSavedError as error:
            rank_zero_warn(str(error))

    def _save_topk_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        self._whole_or_not(super()._save_topk_checkpoint, trainer, monitor_candidates)

    def _save_last_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        self._whole_or_not(super()._save_last_checkpoint, trainer, monitor_candidates)

    def _whole_or_not(self, save: Callable[..., None], *given: Any) -> None:
        """Write one checkpoint, and forget it if it was not saved; those saved before it at the same step count."""
        before = {name: copy.copy(getattr(self, name)) for name in STATE}
        try:
            save(*given)
        except NotSavedError:
            for name, value in before.items():
                setattr(self, name, value)
            raise

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Save on all ranks, or raise `NotSavedError` on all of them."""
        failure = ""
        saving = saving_of(trainer)
        try:
            with nullcontext() if saving is None else saving.in_background():
                trainer.save_checkpoint(filepath, self.save_weights_only)
        except (OSError, RuntimeError) as error:
            if not is_of_writing(error):
                raise
            failure = str(error)
            trainer.strategy.barrier("Trainer.save_checkpoint")  # where the other ranks wait
        if not trainer.strategy.reduce_boolean_decision(not failure, all=True):
            saved = self._last_global_step_saved == trainer.global_step
            what = f"{Path(self._last_checkpoint_saved).name} alone" if saved else "no checkpoint"
            raise NotSavedError(
                f"{what} was saved at step {trainer.global_step}, and earlier ones stay: {filepath} cannot be written "
                f"({failure or 'another rank says why'})"
            )
        self._last_global_step_saved = trainer.global_step
        self._last_checkpoint_saved = filepath
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.after_save_checkpoint(self)

    @staticmethod
    def _link_checkpoint(trainer: Trainer, filepath: str, linkpath: str) -> None:
        """Link the newest checkpoint; it is found without the link, too, so that a failure does no harm."""
        saving = saving_of(trainer)
        if saving is not None and saving.threaded:
            if trainer.is_global_zero:
                saving.afterwards(lambda: link(Path(filepath), Path(linkpath)), even_later=False)
            return
        try:
            ModelCheckpoint._link_checkpoint(trainer, filepath, linkpath)
        except OSError:
            trainer.strategy.barrier()  # where the other ranks wait


def saving_of(trainer: Trainer) -> ShardSaving | None:
    """Return what saves the shards of all ranks; None for a strategy whose checkpoints are single files."""
    found = getattr(trainer.strategy, "saving", None)
    return found if isinstance(found, ShardSaving) else None


def link(checkpoint: Path, place: Path) -> None:
    """Let a link lead to a checkpoint in the same folder; it always leads somewhere, and a failure does no harm."""
    temporary = place.with_name(f".{place.name}.link")
    with suppress(OSError):
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(checkpoint.name)
        temporary.replace(place)


def made_patient(callback: ModelCheckpoint) -> None:
    """Let Lightning's own checkpoint callback, as configurations name it, go on where it cannot write."""
    if type(callback) is ModelCheckpoint:
        callback.__class__ = PatientCheckpoint
