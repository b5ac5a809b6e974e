"""A quantizer: the unit of a frame is the number of the most similar one among some stored frames."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class NearestConfig:
    """Sizes of the quantizer.

    Args:
        num_units: number of stored frames, one for each unit.
        feature_dim: size of a frame's feature vector.
    """

    num_units: int = 8
    feature_dim: int = 16


class NearestFrames(nn.Module):
    """Quantizer by cosine similarity to stored frames; see `spiritlm_pl.contracts.speech_tokenizer.Quantizer`."""

    config_class = NearestConfig

    def __init__(self, config: NearestConfig) -> None:
        """Start with frames of zeros, until `remember` stores some."""
        super().__init__()
        self.config, self.num_units, self.feature_dim = config, config.num_units, config.feature_dim
        self.register_buffer("frames", torch.zeros(config.num_units, config.feature_dim))

    @torch.no_grad()
    def remember(self, features: Tensor) -> None:
        """Store frames of features (N, D) that are as dissimilar as possible."""
        chosen = [0]
        while len(chosen) < self.num_units:
            likeness = nn.functional.cosine_similarity(features[:, None], features[chosen][None], dim=-1)
            chosen.append(int(likeness.amax(1).argmin()))
        self.frames.copy_(features[chosen])

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the units (B, T) of features (B, T, D) with lengths (B,)."""
        return nn.functional.cosine_similarity(features[:, :, None], self.frames, dim=-1).argmax(-1)
