"""Frame features of waveforms, computed on the training device by a frozen extractor.

Shapes: B batch, T frames, D feature dimension.
"""

import zlib
from typing import Any, cast

import torch
from torch import nn

from spiritlm_pl.contracts.batches import FeatureBatch, WaveformBatch
from spiritlm_pl.contracts.speech_tokenizer import FeatureExtractor
from spiritlm_pl.datamodules.speech import WaveformDataModule
from spiritlm_pl.tokenizers.augment import Augmentation
from spiritlm_pl.tokenizers.style import EncoderSource


class FeatureDataModule(WaveformDataModule):
    """Waveforms that become features (and features of augmented audio) after the transfer to the device.

    Args:
        corpora: folders of the corpora.
        features: source of the features: MFCCs by their configuration, a layer of a trained HuBERT, a network of
            `transformers` or torchaudio, the extractor in a tokenizer's folder (such as an imported one), or a style
            encoder.
        augmentation: settings of augmented audio, whose features are given, too; None for clean audio alone.
        batch_seconds: largest duration of a batch in seconds, padding included.
        crop_seconds: duration in seconds above which an utterance gives a random crop of this length; None for whole
            utterances.
        predict_splits: names of the splits that `predict` runs over.
        part_size: number of utterances in a shard of `predict`.
        sample_rate: sample rate of the waveforms, in Hz.
        min_seconds: duration in seconds below which utterances are left out of training and validation.
        max_seconds: duration in seconds above which utterances are left out of training and validation; None keeps all.
        limit_seconds: seconds of each corpus to use in training, in utterances chosen at random; None for all.
        seed: seed for shuffling, crops and augmentation.
        num_workers: number of processes that read audio; 0 reads it in this process.
    """

    def __init__(
        self,
        corpora: list[str],
        features: EncoderSource,
        augmentation: Augmentation | None = None,
        batch_seconds: float = 100.0,
        crop_seconds: float | None = None,
        predict_splits: tuple[str, ...] = ("train", "validation", "test"),
        part_size: int = 1000,
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
            predict_splits=predict_splits,
            part_size=part_size,
            sample_rate=sample_rate,
            min_seconds=min_seconds,
            max_seconds=max_seconds,
            limit_seconds=limit_seconds,
            seed=seed,
            num_workers=num_workers,
        )
        self.features = features
        self.augmentation = augmentation
        self.extractor: FeatureExtractor | None = None

    def setup(self, stage: str) -> None:
        """Build or load the extractor.

        Raises:
            ValueError: if the extractor takes another sample rate.
        """
        super().setup(stage)
        if self.extractor is None:
            self.extractor = cast(FeatureExtractor, self.features.build())
            assert isinstance(self.extractor, nn.Module)
            self.extractor.eval().requires_grad_(False)
        expected = self.extractor.sample_rate
        if expected != self.sample_rate:
            raise ValueError(f"sample_rate must be the extractor's {expected}, but is {self.sample_rate} instead")

    @torch.no_grad()
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Compute features from waveforms; other batches, and those of `predict`, are returned unchanged."""
        predicting = self.trainer is not None and self.trainer.predicting
        if not isinstance(batch, WaveformBatch) or predicting:
            return batch
        assert isinstance(self.extractor, nn.Module)
        extractor = self.extractor.to(batch.waveforms.device)
        features, lengths = extractor(batch.waveforms, batch.lengths)
        augmented = augmented_lengths = None
        if self.augmentation is not None:
            training = self.trainer is not None and self.trainer.training
            epoch = self.trainer.current_epoch if training else 0  # validation is the same at every visit
            seed = zlib.crc32("\n".join(batch.ids).encode()) + self.seed * 1_000_003 + epoch
            waveforms, sample_lengths = self.augmentation(batch.waveforms, batch.lengths, seed)
            augmented, augmented_lengths = extractor(waveforms, sample_lengths)
        return FeatureBatch(
            features=features, lengths=lengths, ids=batch.ids, augmented=augmented, augmented_lengths=augmented_lengths
        )
