"""Batches that DataModules hand to LightningModules.

Shapes: B batch, S samples, T tokens or frames, F F0 frames, L labels, D feature dimension, N document segments
of a batch.
"""

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from spiritlm_pl.contracts.skipped import Skipped


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Base of all batches; a trainer moves them between devices with `to`."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return the same batch with its tensors on a device.

        Args:
            device: device to copy the tensors to.
            non_blocking: whether to return before copies from pinned memory are complete.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {
            name: value.to(device, non_blocking=non_blocking)
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


@dataclass(frozen=True, kw_only=True)
class WaveformBatch(Batch):
    """Utterances or crops of them.

    Attributes:
        waveforms: (B, S) float32 in [-1, 1], zero after the end.
        lengths: (B,) int64 number of samples.
        ids: ids of the B utterances in their corpus.
        labels: (B, L) int64 units to predict in HuBERT pretraining, one per frame, -1 after the end; None if not asked
            for.
        label_rate: number of labels per second; None if `labels` is None.
        skipped: utterances that belong here, but could not be read.
        f0: (B, F) F0 in Hz, if it was extracted beforehand; None otherwise.
        voiced: (B, F) bool, True for voiced frames; None if `f0` is None.
        f0_means: (B,) mean F0 of each speaker in Hz, nan if unknown; None if `f0` is None.
    """

    waveforms: Tensor
    lengths: Tensor
    ids: list[str]
    labels: Tensor | None = None
    label_rate: float | None = None
    skipped: tuple[Skipped, ...] = ()
    f0: Tensor | None = None
    voiced: Tensor | None = None
    f0_means: Tensor | None = None


UNKNOWN = -1  # a style or a speaker that the training split does not have


@dataclass(frozen=True, kw_only=True)
class LabelledBatch(Batch):
    """Utterances or crops of them, with style and speaker.

    Attributes:
        waveforms: (B, S) float32 in [-1, 1], zero after the end.
        lengths: (B,) int64 number of samples.
        ids: ids of the B utterances in their corpus.
        styles: (B,) int64 numbers of the styles in the data module's `styles`, -1 if unknown.
        speakers: (B,) int64 numbers of the speakers in the data module's `speakers`, -1 if unknown.
    """

    waveforms: Tensor
    lengths: Tensor
    ids: list[str]
    styles: Tensor
    speakers: Tensor


@dataclass(frozen=True, kw_only=True)
class FeatureBatch(Batch):
    """Frame features of utterances.

    Attributes:
        features: (B, T, D) float32.
        lengths: (B,) int64 number of frames.
        ids: ids of the B utterances in their corpus.
        augmented: (B, T', D) features of an augmented version of the same audio; None if not asked for.
        augmented_lengths: (B,) int64 number of frames of `augmented`; None if that is None.
    """

    features: Tensor
    lengths: Tensor
    ids: list[str]
    augmented: Tensor | None = None
    augmented_lengths: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class F0Batch(Batch):
    """Crops of F0 contours (pitch VQ-VAE).

    Attributes:
        contours: (B, 2, F) float32, F0 in Hz minus its mean, and voicing (1 voiced, 0 not); 0 after the end.
        means: (B,) float32 mean F0 in Hz that was subtracted.
        lengths: (B,) int64 number of frames.
        ids: ids of the B utterances in their corpus.
    """

    contours: Tensor
    means: Tensor
    lengths: Tensor
    ids: list[str]


@dataclass(frozen=True, kw_only=True)
class UnitWaveformBatch(Batch):
    """Segments of frame-rate units with the waveform they came from (vocoder training).

    Attributes:
        units: (B, T) int64 units, one per frame, so that they repeat.
        waveforms: (B, T * hop_length) float32 in [-1, 1].
        lengths: (B,) int64 number of valid frames.
        speakers: (B,) int64 numbers of the voices in the data module's `speakers`.
        ids: ids of the B utterances in their corpus.
        durations: (B, T) int64 length in frames of the run of equal units that starts at a frame, up to its end even
            if that lies beyond the segment; 0 if no run starts there. None if no run reaches beyond the segment.
        pitches: (B, T) int64 pitch code at each frame; None for units alone (Base).
        styles: (B, T) int64 style code at each frame; None for units alone (Base).
        global_styles: (B,) int64 number of the utterance's style in the data module's `styles`; None if not asked for.
    """

    units: Tensor
    waveforms: Tensor
    lengths: Tensor
    speakers: Tensor
    ids: list[str]
    durations: Tensor | None = None
    pitches: Tensor | None = None
    styles: Tensor | None = None
    global_styles: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class TokenBatch(Batch):
    """Packed rows of token ids: text, speech, or both interleaved.

    Attributes:
        tokens: (B, T) int64 token ids.
        position_ids: (B, T) int64 position of each token in its document segment, from 0.
        segment_ids: (B, T) int64 number of the document within its row that a token belongs to; -1 for padding.
        cu_seqlens: (N + 1,) int32 bounds of the segments in the flattened (B * T) batch, padding included.
        loss_mask: (B, T) bool, True if this token is to be predicted.
        step: number of the optimizer step that the batch is for, which is compared with the trainer's.
    """

    tokens: Tensor
    position_ids: Tensor
    segment_ids: Tensor
    cu_seqlens: Tensor
    loss_mask: Tensor
    step: int


@dataclass(frozen=True, kw_only=True)
class PairBatch(TokenBatch):
    """Packed rows that hold a preferred and a rejected document for each of P prompts.

    Attributes:
        chosen: (P,) int64 number of the segment in `cu_seqlens` that holds a prompt with what is preferred after it.
        rejected: (P,) int64 number of the segment that holds the same prompt with what is rejected.
        reference: (P, 2) float32 log-likelihoods of what follows the prompts under the reference model, in nats, chosen
            and rejected; None where they are not needed.
        modalities: (P,) int64, 0 where chosen and rejected hold text alone, 1 for speech alone, 2 for both.
        counted: (P,) bool, False for pairs that only fill up a batch of a validation.
    """

    chosen: Tensor
    rejected: Tensor
    reference: Tensor | None
    modalities: Tensor
    counted: Tensor


def within(counts: Tensor, size: int) -> Tensor:
    """Return a mask (B, size), True at the first `counts` (B,) places of each row."""
    return torch.arange(size, device=counts.device) < counts[:, None]
