"""What a speech tokenizer is made of: frame features, a quantizer, deduplicated units, and codes beside them.

A tokenizer is `extractor -> quantizer -> Units`. Everything downstream (shards, language model, vocoder)
knows these contracts only, so MFCC k-means, HuBERT k-means and published tokenizers are interchangeable.

Shapes: B batch, S samples, T frames, D feature dimension, R runs of equal units, P pitch codes, Y style codes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from spiritlm_pl.vocabulary import Vocabulary

PITCH_RATE, STYLE_RATE = 12.5, 1.0  # codes a second (Spirit LM, section 3.2)
SIZES = ("num_units", "num_pitches", "num_styles")


@dataclass(frozen=True, kw_only=True)
class SpeechLayout:
    """Which kinds of tokens a tokenizer gives; pitch and style come together or not at all.

    Attributes:
        num_units: number of different units.
        frame_rate: units a second, before runs are collapsed.
        num_pitches: number of different pitch codes, 0 for Base.
        num_styles: number of different style codes, 0 for Base.
    """

    num_units: int
    frame_rate: float
    num_pitches: int = 0
    num_styles: int = 0

    @property
    def expressive(self) -> bool:
        """Whether there are pitch and style codes."""
        return self.num_pitches > 0

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds."""
        return ("units", "pitches", "styles") if self.expressive else ("units",)


def check_tokenizer(layout: SpeechLayout, vocabulary: Vocabulary, folder: str | Path | None) -> None:
    """A Base model takes an expressive tokenizer, and leaves pitch and style aside.

    Raises:
        ValueError: if the vocabulary lacks codes of the tokenizer, or has kinds that it does not give.
    """
    if vocabulary.expressive and not layout.expressive:
        raise ValueError(
            "speech tokenizer must give the pitch and style codes of the language model, "
            f"but {folder} gives units alone"
        )
    for name in SIZES:
        most, found = getattr(vocabulary, name), getattr(layout, name)
        if most and found > most:
            raise ValueError(
                f"{name} of the speech tokenizer must be at most the language model's {most}, "
                f"but of {folder} is {found} instead"
            )


@dataclass(frozen=True)
class Units:
    """Phonetic units of one utterance, runs of equal frames collapsed to one, and what goes with them.

    Attributes:
        values: (R,) int64, neighbours differ.
        starts: (R,) int64 frame index at which each run starts; the first one is 0.
        num_frames: number of frames of the utterance.
        pitches: (P,) int64 codes, `PITCH_RATE` a second; None for Base.
        styles: (Y,) int64 codes, `STYLE_RATE` a second; None for Base.
    """

    values: Tensor
    starts: Tensor
    num_frames: int
    pitches: Tensor | None = None
    styles: Tensor | None = None

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
class FeatureSource(Protocol):
    """What a configuration names features by: a dataclass that builds or loads them."""

    def build(self) -> Any:  # any, since configurations compare what other packages' classes say that they return
        """Build or load a `FeatureExtractor`, which is a `torch.nn.Module`."""
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
    """Waveforms to phonetic units, with pitch and style codes where it is expressive."""

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

    @property
    def layout(self) -> SpeechLayout:
        """Which kinds of tokens it gives."""
        ...

    def encode(self, waveforms: Tensor, lengths: Tensor) -> list[Units]:
        """Units of waveforms (B, S) with lengths (B,)."""
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
