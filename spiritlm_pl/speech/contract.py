"""What a phonetic speech tokenizer is made of: frame features, a quantizer, deduplicated units.

A tokenizer is `extractor -> quantizer -> Units`. Everything downstream (shards, language model, vocoder)
knows these contracts only, so MFCC k-means, HuBERT k-means and published tokenizers are interchangeable.

Shapes: B batch, S samples, T frames, D feature dimension, R runs of equal units.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class Units:
    """Phonetic units of one utterance, runs of equal frames collapsed to one.

    Attributes:
        values: (R,) int64, neighbours differ.
        starts: (R,) int64 frame index at which each run starts; the first one is 0.
        num_frames: number of frames of the utterance.
    """

    values: Tensor
    starts: Tensor
    num_frames: int

    @classmethod
    def from_frames(cls, frames: Tensor) -> "Units":
        """Collapse frame-rate units (T,); no frames give no units."""
        if frames.ndim != 1:
            raise ValueError(f"frames must have one dimension, but has shape {tuple(frames.shape)} instead")
        frames = frames.long()
        is_start = torch.ones_like(frames, dtype=torch.bool)
        is_start[1:] = frames[1:] != frames[:-1]
        starts = is_start.nonzero().squeeze(1)
        return cls(values=frames[starts], starts=starts, num_frames=len(frames))

    def durations(self) -> Tensor:
        """Length of every run in frames (R,)."""
        ends = torch.cat([self.starts[1:], self.starts.new_tensor([self.num_frames])])
        return ends[: len(self.starts)] - self.starts

    def frames(self) -> Tensor:
        """Repeat the runs back to frame-rate units (T,)."""
        return self.values.repeat_interleave(self.durations())


@runtime_checkable
class FeatureExtractor(Protocol):
    """Waveforms to frame features; frame t describes the samples from `t * hop_length` on."""

    @property
    def sample_rate(self) -> int:
        """Samples a second of the waveforms it takes."""
        ...

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        ...

    @property
    def feature_dim(self) -> int:
        """Size of a frame's feature vector."""
        ...

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, D) and number of frames (B,) of waveforms (B, S) with lengths (B,)."""
        ...


@runtime_checkable
class Quantizer(Protocol):
    """Frame features to units."""

    @property
    def num_units(self) -> int:
        """Number of different units."""
        ...

    @property
    def feature_dim(self) -> int:
        """Size of the feature vectors it takes."""
        ...

    def __call__(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Units (B, T) int64 of features (B, T, D); what stands after the end is undefined."""
        ...


@runtime_checkable
class SpeechTokenizer(Protocol):
    """Waveforms to phonetic units."""

    @property
    def sample_rate(self) -> int:
        """Samples a second of the waveforms it takes."""
        ...

    @property
    def frame_rate(self) -> float:
        """Frames a second, before runs are collapsed."""
        ...

    @property
    def hop_length(self) -> int:
        """Samples a frame."""
        ...

    @property
    def cardinality(self) -> int:
        """Number of different units."""
        ...

    def encode(self, waveforms: Tensor, lengths: Tensor) -> list[Units]:
        """Units of waveforms (B, S) with lengths (B,)."""
        ...

    def save(self, folder: str | Path) -> Path:
        """Write it to a folder, from which it can be loaded again."""
        ...


def exact_hop(sample_rate: int, frame_rate: float) -> int:
    """Samples a frame.

    Raises:
        ValueError: if a frame is no whole number of samples.
    """
    hop = round(sample_rate / frame_rate)
    if abs(hop * frame_rate - sample_rate) > 1e-6:
        raise ValueError(f"frame_rate must divide the sample rate {sample_rate}, but is {frame_rate} instead")
    return hop
