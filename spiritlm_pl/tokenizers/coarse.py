"""Coarser frames than an encoder gives, for units at the rate of syllables: means over blocks or over like frames.

Neighbouring frames that are alike are replaced by the mean of their segment. So a quantizer gives them the same unit,
and one token stands for all of them. The times stay those of the encoder's frames.

Shapes: B batch, S samples, T frames, D feature dimension.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spiritlm_pl.contracts.speech_tokenizer import FeatureExtractor, FeatureSource
from spiritlm_pl.runtime.checkpoint import build_network, describe_network
from spiritlm_pl.tokenizers.features import block_means

SHORTEST = 1e-8  # length below which a vector counts as this long, as in torch's cosine similarity


@dataclass(frozen=True, kw_only=True)
class CoarseConfig:
    """Choice of an extractor, and how its frames are made coarser.

    Args:
        inner: class path and configuration of the extractor whose frames are made coarser.
        average: number of frames whose mean becomes one frame; the frame rate is divided by it.
        similarity: cosine similarity, from -1 to 1, of a frame to the mean of its segment so far, below which a new
            segment begins. None makes no segments.
        longest: largest number of frames in a segment.

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
        object.__setattr__(self, "inner", json.loads(json.dumps(self.inner)))  # as a file gives it back


def check_coarse(average: int, similarity: float | None, longest: int) -> None:
    """Check the settings of coarser frames.

    Args:
        average: number of frames whose mean becomes one frame, at least 1.
        similarity: cosine similarity below which a segment ends, in [-1, 1]; None makes no segments.
        longest: largest number of frames in a segment, at least 1.

    Raises:
        ValueError: if a number is out of its range.
    """
    for name, value in (("average", average), ("longest", longest)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value} instead")
    if similarity is not None and not -1 <= similarity <= 1:
        raise ValueError(f"similarity must be in [-1, 1], but is {similarity} instead")


class CoarseFeatures(nn.Module):
    """Feature extractor that makes the frames of another one coarser.

    Args:
        config: choice of the other extractor, and how its frames are made coarser.
        inner: the other extractor; None builds it from the configuration with random weights.
    """

    config_class = CoarseConfig
    inner: FeatureExtractor

    def __init__(self, config: CoarseConfig, inner: FeatureExtractor | None = None) -> None:
        """Store the other extractor, or build it."""
        super().__init__()
        self.config = config
        found: Any = build_network(config.inner, "inner") if inner is None else inner
        self.inner = found

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms, in Hz."""
        return self.inner.sample_rate

    @property
    def frame_rate(self) -> float:
        """Number of frames per second, in Hz."""
        return self.inner.frame_rate / self.config.average

    @property
    def feature_dim(self) -> int:
        """Size of a frame's feature vector, D."""
        return self.inner.feature_dim

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features (B, T, D) and numbers of frames (B,) from waveforms (B, S) with lengths (B,)."""
        features, counts = self.inner(waveforms, lengths)
        if self.config.average > 1:
            counts = counts // self.config.average  # an incomplete frame at the end is left out, as by all extractors
            whole = int(counts.max()) * self.config.average if len(counts) else 0
            features, _ = block_means(features[:, :whole], counts * self.config.average, self.config.average)
        if self.config.similarity is None:
            return features, counts
        rows = [self._segments(row[:count]) for row, count in zip(features, counts.tolist(), strict=True)]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), counts

    def _segments(self, frames: Tensor) -> Tensor:
        """Replace each of the frames (T, D) of an utterance by the mean of its segment."""
        assert self.config.similarity is not None
        numbers = segment_numbers(frames, self.config.similarity, self.config.longest)
        if not len(frames):
            return frames
        sums = frames.new_zeros(int(numbers[-1]) + 1, frames.shape[1]).index_add(0, numbers, frames)
        return (sums / numbers.bincount()[:, None])[numbers]


def segment_numbers(frames: Tensor, similarity: float, longest: int) -> Tensor:
    """Number the segments of similar frames.

    Args:
        frames: frames of one utterance (T, D).
        similarity: cosine similarity to the segment's mean below which a new segment begins.
        longest: largest number of frames in a segment.

    Returns:
        The number of each frame's segment (T,), int64, from 0 on, on the device of the frames.
    """
    rows = frames.detach().double().cpu().numpy()  # one by one, as each depends on those before; fastest in NumPy
    squares = np.einsum("td,td->t", rows, rows).tolist()
    numbers, number, size = [], -1, 0
    total, square = np.zeros(0), 0.0  # of the segment so far, and its squared length
    for row, own in zip(rows, squares, strict=True):
        dot = float(row.dot(total)) if 0 < size < longest else -math.inf
        if dot >= similarity * max(math.sqrt(own), SHORTEST) * max(math.sqrt(square), SHORTEST):
            total += row
            size, square = size + 1, max(0.0, square + 2 * dot + own)
        else:
            total, size, square, number = row.copy(), 1, own, number + 1
        numbers.append(number)
    return torch.tensor(numbers, dtype=torch.long, device=frames.device)


@dataclass(frozen=True, kw_only=True)
class CoarseSource:
    """Source of the features of another source, made coarser.

    Args:
        features: the other source, such as a network of `transformers`.
        average: number of frames whose mean becomes one frame, as in `CoarseConfig`.
        similarity: cosine similarity below which a segment ends, as in `CoarseConfig`; None makes no segments.
        longest: largest number of frames in a segment, as in `CoarseConfig`.

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
        """Build or load the extractor, as the other source does."""
        inner = self.features.build()
        config = CoarseConfig(
            inner=describe_network(inner), average=self.average, similarity=self.similarity, longest=self.longest
        )
        return CoarseFeatures(config, inner)
