"""Batches that DataModules hand to LightningModules.

Shapes: B batch, S samples, T tokens or frames, F F0 frames, L labels, N documents of a batch.
"""

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Skipped:
    """An utterance that was left out, and why."""

    id: str
    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Base of all batches; a trainer moves them between devices with `to`."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The same batch with its tensors on a device."""
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
        ids: B cut ids.
        labels: (B, L) int64 frame-rate units to predict (HuBERT), -1 after the end; None when not asked for.
        label_rate: labels a second; None with `labels`.
        skipped: utterances that belong here, but could not be read.
        f0: (B, F) Hz, where it was extracted before; None elsewhere.
        voiced: (B, F) bool; None with `f0`.
        f0_means: (B,) Hz, of the speakers, nan where unknown; None with `f0`.
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


UNKNOWN = -1  # a style or a speaker that the training split has not


@dataclass(frozen=True, kw_only=True)
class LabelledBatch(Batch):
    """Utterances or crops of them, with style and speaker.

    Attributes:
        waveforms: (B, S) float32 in [-1, 1], zero after the end.
        lengths: (B,) int64 number of samples.
        ids: B cut ids.
        styles: (B,) int64, -1 where unknown.
        speakers: (B,) int64, -1 where unknown.
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
        ids: B cut ids.
        augmented: (B, T', D) features of an augmented version of the same audio; None when not asked for.
        augmented_lengths: (B,) int64; None with `augmented`.
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
        contours: (B, 2, F) float32, F0 in Hz less the mean, and voicing; 0 after the end.
        means: (B,) float32 Hz, what was subtracted.
        lengths: (B,) int64 number of frames.
        ids: B cut ids.
    """

    contours: Tensor
    means: Tensor
    lengths: Tensor
    ids: list[str]


@dataclass(frozen=True, kw_only=True)
class UnitWaveformBatch(Batch):
    """Segments of frame-rate units with the waveform they came from (vocoder training).

    Attributes:
        units: (B, T) int64 frame-rate (repeated) units.
        waveforms: (B, T * hop_length) float32.
        lengths: (B,) int64 number of valid frames.
        speakers: (B,) int64.
        ids: B cut ids.
        durations: (B, T) int64 frames of the run that starts here, to its end beyond the segment; 0 where none
            starts. None: no run reaches beyond the segment.
        pitches: (B, T) int64 pitch code at each frame; None where units are Base.
        styles: (B, T) int64 style code at each frame; None where units are Base.
        global_styles: (B,) int64 style of the utterance; None when not asked for.
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
    """Packed rows of one stream of words and speech.

    Attributes:
        tokens: (B, T) int64 token ids.
        position_ids: (B, T) int64, from 0 in every document segment.
        segment_ids: (B, T) int64, which document of its row a token belongs to; -1 for padding.
        cu_seqlens: (N + 1,) int32 bounds of the segments in the flattened (B * T) batch, padding runs included.
        loss_mask: (B, T) bool, True where this token is to be predicted.
        step: the optimizer step this batch belongs to, checked against the trainer's.
    """

    tokens: Tensor
    position_ids: Tensor
    segment_ids: Tensor
    cu_seqlens: Tensor
    loss_mask: Tensor
    step: int


def within(counts: Tensor, size: int) -> Tensor:
    """Which of so many places (B, size) lie within counts (B,)."""
    return torch.arange(size, device=counts.device) < counts[:, None]
