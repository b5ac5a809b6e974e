"""Audio and spectrograms of held-out utterances and their resynthesis, logged at every validation.

The utterances are taken from the validation batches, and are the same each time.

Shapes: B batch, T frames, S samples.
"""

from typing import Any, cast

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from spiritlm_pl.callbacks.media import log_audio, log_figure, tell_without_logger
from spiritlm_pl.contracts.batches import UnitWaveformBatch
from spiritlm_pl.contracts.check import checked
from spiritlm_pl.contracts.modules import SpeakingModule
from spiritlm_pl.corpora.files import plain_name
from spiritlm_pl.evaluation.plots import spectrogram_figure
from spiritlm_pl.vocoder.vocoder import Vocoder


class ResynthesizeUtterances(Callback):
    """Callback that logs utterances as originals and as resyntheses with true and with predicted durations.

    Args:
        num_utterances: number of utterances to log, spread evenly over the validation batches.
        seconds: longest part of each utterance to log, in seconds.
    """

    def __init__(self, num_utterances: int = 3, seconds: float = 10.0) -> None:
        """Check the number of utterances."""
        if num_utterances < 1:
            raise ValueError(f"num_utterances must be at least 1, but is {num_utterances} instead")
        self.num_utterances = num_utterances
        self.seconds = seconds
        self._heard: set[str] = set()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module trains a vocoder.

        Raises:
            ValueError: if the module does not train a vocoder.
        """
        checked(pl_module, SpeakingModule, "module", self)
        tell_without_logger(trainer, self)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: UnitWaveformBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log the chosen utterances of this batch."""
        if trainer.sanity_checking or not trainer.is_global_zero or not trainer.loggers:
            return
        total = max(1, int(trainer.num_val_batches[dataloader_idx]))
        for place in chosen_places(self.num_utterances, total, len(batch.ids)).get(batch_idx, ()):
            self._log(trainer, cast(SpeakingModule, pl_module).best_network, batch, place)

    def _log(self, trainer: Trainer, network: Vocoder, batch: UnitWaveformBatch, place: int) -> None:
        frames = min(int(batch.lengths[place]), max(1, int(self.seconds * network.sample_rate / network.hop_length)))
        units, speaker = batch.units[place, :frames], int(batch.speakers[place])
        pitches, styles = (None if codes is None else codes[place, :frames] for codes in (batch.pitches, batch.styles))
        style = None if batch.global_styles is None else int(batch.global_styles[place])
        starts = torch.ones_like(units, dtype=torch.bool)
        starts[1:] = units[1:] != units[:-1]
        run_pitches, run_styles = (None if codes is None else codes[starts] for codes in (pitches, styles))
        original = batch.waveforms[place, : frames * network.hop_length].float().cpu()
        made = network.speak_frames(units, speaker, pitches, styles, style)
        spoken = network.synthesize(units[starts], speaker, None, run_pitches, run_styles, style)
        name = f"resynthesis/{plain_name(batch.ids[place])}"
        step, rate = trainer.global_step, network.sample_rate
        if name not in self._heard:
            self._heard.add(name)
            log_audio(trainer, f"{name}.original", original, rate, step)
        log_audio(trainer, f"{name}.true_durations", made, rate, step)
        log_audio(trainer, f"{name}.predicted_durations", spoken, rate, step)
        panels = {"original": original, "true durations": made, "predicted durations": spoken}
        log_figure(trainer, f"{name}.spectrograms", spectrogram_figure(panels, rate, f0=True), step)


def chosen_places(num_utterances: int, num_batches: int, batch_size: int) -> dict[int, list[int]]:
    """Choose places of utterances, spread over the batches, as {batch index: places}."""
    places: dict[int, list[int]] = {}
    for i in range(num_utterances):
        taken = places.setdefault(i * num_batches // num_utterances, [])
        if len(taken) < batch_size:
            taken.append(len(taken))
    return places
