"""Waveforms with the style and the speaker of each utterance.

Shapes: B batch, S samples.
"""

from collections import Counter
from typing import Any, Literal

import torch
from lhotse import MonoCut
from torch.utils.data import Dataset

from spiritlm_pl.contracts.batches import UNKNOWN, LabelledBatch
from spiritlm_pl.corpora.manifest import style_of
from spiritlm_pl.data.batching import Visit
from spiritlm_pl.datamodules.speech import WaveformCrops, WaveformDataModule


class LabelledDataModule(WaveformDataModule):
    """Crops with labels; their names are those of the training split, sorted.

    Args:
        corpora: corpus folders.
        needed: leave out utterances without a style, without a speaker, or none.
        batch_seconds: audio in a batch, padding included.
        crop_seconds: longer utterances give a random crop of this length; None for whole utterances.
        sample_rate: of the waveforms, Hz.
        min_seconds: shorter utterances are left out of training and validation.
        max_seconds: longer utterances are left out of training and validation; None keeps them.
        limit_seconds: use only so many seconds of each corpus in training, drawn at random; None for all.
        seed: of shuffles and crops.
        num_workers: processes that read audio.
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
        """Keep the settings; nothing is read before `setup`."""
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
        self.style_counts: tuple[int, ...] = ()  # training utterances of each
        self.speaker_counts: tuple[int, ...] = ()

    def setup(self, stage: str) -> None:
        """Read the manifests, and the names from the training split."""
        super().setup(stage)
        cuts = self.cuts["train"] if "train" in self.cuts else self._select("train")
        styles = Counter(style_of(cut) for cut in cuts)
        speakers = Counter(cut.supervisions[0].speaker or "" for cut in cuts)
        self.styles, self.speakers = (tuple(sorted(names.keys() - {""})) for names in (styles, speakers))
        self.style_counts = tuple(styles[name] for name in self.styles)
        self.speaker_counts = tuple(speakers[name] for name in self.speakers)

    def usable(self, cut: MonoCut, split: str) -> bool:
        """Only utterances with the label that is needed."""
        labels = {"style": style_of(cut), "speaker": cut.supervisions[0].speaker}
        return bool(labels.get(self.needed, True))

    def dataset(self, split: str, training: bool) -> Dataset[Any]:
        """Crops of waveforms with labels."""
        crops = WaveformCrops(self.cuts[split], self.sample_rate, self.crop_seconds, self.seed, training=training)
        return LabelledCrops(crops, self.styles, self.speakers)


class LabelledCrops(Dataset[LabelledBatch]):
    """Visit to waveforms and labels."""

    def __init__(self, crops: WaveformCrops, styles: tuple[str, ...], speakers: tuple[str, ...]) -> None:
        """Keep what a worker needs."""
        self.crops = crops
        self.styles = {name: index for index, name in enumerate(styles)}
        self.speakers = {name: index for index, name in enumerate(speakers)}

    def __getitem__(self, visit: Visit) -> LabelledBatch:
        """The batch of a visit."""
        batch = self.crops[visit]
        cuts = [self.crops.cuts[index] for index in visit.indices]
        return LabelledBatch(
            waveforms=batch.waveforms,
            lengths=batch.lengths,
            ids=batch.ids,
            styles=torch.tensor([self.styles.get(style_of(cut), UNKNOWN) for cut in cuts]),
            speakers=torch.tensor([self.speakers.get(cut.supervisions[0].speaker or "", UNKNOWN) for cut in cuts]),
        )
