"""Coarser frames than an encoder gives, for units at the rate of syllables: means of so many frames, or of like ones.

Neighbouring frames that are alike share the mean of their segment, so that a quantizer gives them the same unit, and
one token stands for all of them. Times stay those of the encoder's frames.

Shapes: B batch, S samples, T frames, D feature dimension.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spiritlm_pl.contracts.speech_tokenizer import FeatureExtractor, FeatureSource
from spiritlm_pl.runtime.checkpoint import build_network, describe_network
from spiritlm_pl.tokenizers.features import block_means


@dataclass(frozen=True, kw_only=True)
class CoarseConfig:
    """How frames are made coarser.

    Args:
        inner: class path and configuration of the extractor whose frames they are.
        average: frames that become one frame, their mean; the frame rate is divided by it.
        similarity: cosine similarity of a frame to the mean of its segment so far, from -1 to 1, below which a new
            segment begins; None leaves frames as they are.
        longest: frames of a segment at most.

    Raises:
        ValueError: if a number is out of its range.
    """

    inner: Mapping[str, Any] = field(default_factory=dict)
    average: int = 1
    similarity: float | None = None
    longest: int = 50

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_coarse(self.average, self.similarity, self.longest)
        object.__setattr__(self, "inner", json.loads(json.dumps(self.inner)))  # equal to what a file gives back


def check_coarse(average: int, similarity: float | None, longest: int) -> None:
    """Check what makes frames coarser; arguments are those of `CoarseConfig`.

    Raises:
        ValueError: if a number is out of its range.
    """
    for name, value in (("average", average), ("longest", longest)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value} instead")
    if similarity is not None and not -1 <= similarity <= 1:
        raise ValueError(f"similarity must be in [-1, 1], but is {similarity} instead")


class CoarseFeatures(nn.Module):
    """Frames of another extractor, made coarser.

    Args:
        config: which extractor, and how.
        inner: the extractor; built from the configuration, with random weights, when not given.
    """

    config_class = CoarseConfig
    inner: FeatureExtractor

    def __init__(self, config: CoarseConfig, inner: FeatureExtractor | None = None) -> None:
        """Build the extractor."""
        super().__init__()
        self.config = config
        found: Any = build_network(config.inner, "inner") if inner is None else inner
        self.inner = found

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.inner.sample_rate

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.inner.frame_rate / self.config.average

    @property
    def feature_dim(self) -> int:
        """Size of a frame's feature vector."""
        return self.inner.feature_dim

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, D) and number of frames (B,) of waveforms (B, S) with lengths (B,)."""
        features, counts = self.inner(waveforms, lengths)
        if self.config.average > 1:
            counts = counts // self.config.average  # the rest of a frame at the end is left out, as of all extractors
            whole = int(counts.max()) * self.config.average if len(counts) else 0
            features, _ = block_means(features[:, :whole], counts * self.config.average, self.config.average)
        if self.config.similarity is None:
            return features, counts
        rows = [self._segments(row[:count]) for row, count in zip(features, counts.tolist(), strict=True)]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), counts

    def _segments(self, frames: Tensor) -> Tensor:
        """Each frame's segment mean (T, D) of the frames (T, D) of one utterance."""
        assert self.config.similarity is not None
        numbers = segment_numbers(frames, self.config.similarity, self.config.longest)
        if not len(frames):
            return frames
        sums = frames.new_zeros(int(numbers[-1]) + 1, frames.shape[1]).index_add(0, numbers, frames)
        return (sums / numbers.bincount()[:, None])[numbers]


def segment_numbers(frames: Tensor, similarity: float, longest: int) -> Tensor:
    """Number the segments of like frames.

    Args:
        frames: (T, D).
        similarity: as in `CoarseConfig`.
        longest: frames of a segment at most.

    Returns:
        (T,) int64 from 0 on, on the device of the frames.
    """
    numbers, number, size = [], -1, 0
    total = torch.zeros(0)
    for frame in frames.float().cpu():  # one by one, as each depends on those before: faster here than on a GPU
        alike = size and size < longest and float(functional.cosine_similarity(frame, total, dim=0)) >= similarity
        if alike:
            total, size = total + frame, size + 1
        else:
            total, size, number = frame, 1, number + 1
        numbers.append(number)
    return torch.tensor(numbers, dtype=torch.long, device=frames.device)


@dataclass(frozen=True, kw_only=True)
class CoarseSource:
    """Names the features of another source, made coarser.

    Args:
        features: the other source, such as a network of `transformers`.
        average: as in `CoarseConfig`.
        similarity: as in `CoarseConfig`.
        longest: as in `CoarseConfig`.

    Raises:
        ValueError: if a number is out of its range.
    """

    features: FeatureSource
    average: int = 1
    similarity: float | None = None
    longest: int = 50

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_coarse(self.average, self.similarity, self.longest)

    def build(self) -> CoarseFeatures:
        """Build or load the extractor."""
        inner = self.features.build()
        config = CoarseConfig(
            inner=describe_network(inner), average=self.average, similarity=self.similarity, longest=self.longest
        )
        return CoarseFeatures(config, inner)
