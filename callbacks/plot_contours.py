"""Plots of held-out F0 contours, original and reconstructed, in the tracker.

Shapes: B batch, F F0 frames.
"""

from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer

from spiritlm_pl.callbacks.media import log_figure, tell_without_logger
from spiritlm_pl.callbacks.resynthesize import chosen_places
from spiritlm_pl.contracts.batches import F0Batch
from spiritlm_pl.contracts.check import checked
from spiritlm_pl.contracts.modules import ContourCoder, ContourModule
from spiritlm_pl.corpora.files import plain_name
from spiritlm_pl.evaluation.plots import contour_figure


class PlotContours(Callback):
    """Callback that logs plots of some utterances' F0 contours at every validation.

    Args:
        num_utterances: number of utterances to plot, spread evenly over the validation batches.
    """

    def __init__(self, num_utterances: int = 3) -> None:
        """Check the number of utterances."""
        if num_utterances < 1:
            raise ValueError(f"num_utterances must be at least 1, but is {num_utterances} instead")
        self.num_utterances = num_utterances

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module trains a coder of contours.

        Raises:
            ValueError: if the module does not train a coder of contours.
        """
        checked(checked(pl_module, ContourModule, "module", self).network, ContourCoder, "network", self)
        tell_without_logger(trainer, self)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: F0Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Plot the chosen utterances of this batch."""
        if trainer.sanity_checking or not trainer.is_global_zero or not trainer.loggers:
            return
        total = max(1, int(trainer.num_val_batches[dataloader_idx]))
        network = cast(ContourModule, pl_module).network
        for place in chosen_places(self.num_utterances, total, len(batch.ids)).get(batch_idx, ()):
            original = batch.contours[place, :, : int(batch.lengths[place])]
            codes = network.encode(original[None])
            if not codes.shape[1]:
                continue
            with torch.no_grad():
                made = network.decode(codes)[0]
            mean = batch.means[place]
            curves = {
                name: torch.where(values[1] > 0.5, values[0] + mean, torch.nan).float().cpu()
                for name, values in (("original", original), ("from its codes", made))
            }
            name = f"contours/{plain_name(batch.ids[place])}"
            figure = contour_figure(curves, network.config.frame_rate, f"{batch.ids[place]}, {codes.shape[1]} codes")
            log_figure(trainer, name, figure, trainer.global_step)
