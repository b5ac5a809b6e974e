"""Waveforms with the style and the speaker of each utterance.

Shapes: B batch, S samples.
"""

from typing import Any, Literal

import torch
from torch.utils.data import Dataset

from spiritlm_pl.contracts.batches import UNKNOWN, LabelledBatch
from spiritlm_pl.corpora.cuts import Cuts
from spiritlm_pl.corpora.manifest import style_of
from spiritlm_pl.data.batching import Visit
from spiritlm_pl.datamodules.speech import Choice, WaveformCrops, WaveformDataModule


class LabelledDataModule(WaveformDataModule):
    """Crops of waveforms with labels; the names of the labels are those of the training split, sorted.

    Args:
        corpora: folders of the corpora.
        needed: label without which an utterance is left out: "style", "speaker", or "nothing" to keep all.
        batch_seconds: largest duration of a batch in seconds, padding included.
        crop_seconds: duration in seconds above which an utterance gives a random crop of this length; None for whole
            utterances.
        sample_rate: sample rate of the waveforms, in Hz.
        min_seconds: duration in seconds below which utterances are left out of training and validation.
        max_seconds: duration in seconds above which utterances are left out of training and validation; None keeps all.
        limit_seconds: seconds of each corpus to use in training, in utterances chosen at random; None for all.
        seed: seed for shuffling and crops.
        num_workers: number of processes that read audio; 0 reads it in this process.
    """

    def __init__(
        self,
        corpora: list[str],
        needed: Literal["style", "speaker", "nothing"] = "style",
        batch_seconds: float = 100.0,
        crop_seconds: float | None = 5.0,
        sample_rate: int = 16_000,
        min_seconds: float = 0.2,
        max_seconds: float | None = None,
        limit_seconds: float | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        """Store the settings; nothing is read before `setup`."""
        super().__init__(
            corpora,
            batch_seconds,
            crop_seconds,
            sample_rate=sample_rate,
            min_seconds=min_seconds,
            max_seconds=max_seconds,
            limit_seconds=limit_seconds,
            seed=seed,
            num_workers=num_workers,
        )
        self.needed = needed
        self.styles: tuple[str, ...] = ()
        self.speakers: tuple[str, ...] = ()
        self.style_counts: tuple[int, ...] = ()  # number of training utterances of each style
        self.speaker_counts: tuple[int, ...] = ()

    def setup(self, stage: str) -> None:
        """Read the manifests, and the names of labels from the training split."""
        super().setup(stage)
        cuts = self.cuts["train"] if "train" in self.cuts else self._select("train")
        styles, speakers = cuts.counts("style"), cuts.counts("speaker")
        self.styles, self.speakers = (tuple(sorted(names.keys() - {""})) for names in (styles, speakers))
        self.style_counts = tuple(styles[name] for name in self.styles)
        self.speaker_counts = tuple(speakers[name] for name in self.speakers)

    def _needed(self, stage: str) -> tuple[str, ...]:
        """Return the names of the splits that a stage needs: always the training split as well, which has the names."""
        needed = super()._needed(stage)
        return ("train", *needed) if needed and "train" not in needed else needed

    def usable(self, cuts: Cuts, split: str) -> Choice:
        """Return which utterances have the label that is needed (N,)."""
        return super().usable(cuts, split) if self.needed == "nothing" else cuts.having(self.needed)

    def dataset(self, split: str, training: bool) -> Dataset[Any]:
        """Make the dataset of crops with labels."""
        crops = WaveformCrops(self.cuts[split], self.sample_rate, self.crop_seconds, self.seed, training=training)
        return LabelledCrops(crops, self.styles, self.speakers)


class LabelledCrops(Dataset[LabelledBatch]):
    """Dataset from a visit to its waveforms and labels."""

    def __init__(self, crops: WaveformCrops, styles: tuple[str, ...], speakers: tuple[str, ...]) -> None:
        """Store what a worker needs.

        Args:
            crops: dataset of the waveforms.
            styles: names of the styles in the order of their ids.
            speakers: names of the speakers in the order of their ids.
        """
        self.crops = crops
        self.styles = {name: index for index, name in enumerate(styles)}
        self.speakers = {name: index for index, name in enumerate(speakers)}

    def __getitem__(self, visit: Visit) -> LabelledBatch:
        """Return the batch of a visit."""
        batch = self.crops[visit]
        cuts = [self.crops.cuts[index] for index in visit.indices]
        return LabelledBatch(
            waveforms=batch.waveforms,
            lengths=batch.lengths,
            ids=batch.ids,
            styles=torch.tensor([self.styles.get(style_of(cut), UNKNOWN) for cut in cuts]),
            speakers=torch.tensor([self.speakers.get(cut.supervisions[0].speaker or "", UNKNOWN) for cut in cuts]),
        )
