"""What a speech tokenizer is made of: frame features, a quantizer, deduplicated units, and codes beside them.

A tokenizer is `extractor -> quantizer -> Units`. Everything downstream (shards, language model, vocoder)
knows these contracts only, so MFCC k-means, HuBERT k-means and published tokenizers are interchangeable.

Shapes: B batch, S samples, T frames, D feature dimension, R runs of equal units, K codebooks,
F frames of a further stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.vocabulary import Vocabulary


def check_tokenizer(layout: SpeechLayout, vocabulary: Vocabulary, folder: str | Path | None) -> None:
    """Refuse a tokenizer that does not give what a model reads; a Base model leaves pitch and style aside.

    Args:
        layout: of the tokenizer.
        vocabulary: of the language model.
        folder: of the tokenizer, for errors.

    Raises:
        ValueError: if a stream of the vocabulary is missing, or has fewer codes, other codebooks or another rate.
    """
    if vocabulary.expressive and layout.phonetic and not layout.expressive:
        raise ValueError(
            "speech tokenizer must give the pitch and style codes of the language model, "
            f"but {folder} gives units alone"
        )
    for wanted in vocabulary.streams:
        if wanted.name not in layout.names:
            raise ValueError(
                f"speech tokenizer must give the language model's streams {', '.join(vocabulary.layout.names)}, "
                f"but {folder} gives {', '.join(layout.names)} instead"
            )
        found = layout.stream(wanted.name)
        if found.size > wanted.size:
            raise ValueError(
                f"num_{wanted.plural} of the speech tokenizer must be at most the language model's {wanted.size}, "
                f"but of {folder} is {found.size} instead"
            )
        for what in ("num_codebooks", "rate", "deduplicated"):
            own, other = getattr(wanted, what), getattr(found, what)
            if own != other and own is not None:
                raise ValueError(
                    f"{what} of stream {wanted.name} must be the language model's {own}, "
                    f"but of {folder} is {other} instead"
                )


@dataclass(frozen=True)
class Units:
    """The speech tokens of one utterance: the first stream of a layout frame by frame or run by run, others beside it.

    Attributes:
        values: (R,) int64, neighbours differ; (T, K) for a stream of frames with K codebooks.
        starts: (R,) int64 frame index at which each run starts; the first one is 0. All frames (T,) where runs are
            not collapsed.
        num_frames: number of frames T of the utterance.
        codes: (F,) or (F, K) int64 codes of each further stream by its name, at its own rate.
    """

    values: Tensor
    starts: Tensor
    num_frames: int
    codes: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_codebooks(cls, frames: Tensor, codes: Mapping[str, Tensor] | None = None) -> "Units":
        """Keep frames (T,) or (T, K) as they are, run or no run.

        Args:
            frames: of the first stream.
            codes: of further streams, by name.
        """
        return cls(frames.long(), torch.arange(len(frames)), len(frames), codes or {})

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
        """Repeat the runs back to frame-rate units (T,) or (T, K)."""
        return self.values.repeat_interleave(self.durations(), dim=0)


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
    """Turns waveforms into speech tokens: phonetic units, alone or with pitch and style codes, or codes of a codec."""

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
        """Number of different codes of the first stream's codebooks."""
        ...

    @property
    def layout(self) -> SpeechLayout:
        """The streams that it gives, with their rates."""
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
