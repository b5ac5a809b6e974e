"""A quantizer: the unit of a frame is that of the most similar of some frames that are remembered."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class NearestConfig:
    """Sizes.

    Args:
        num_units: number of frames that are remembered.
        feature_dim: size of a frame's feature vector.
    """

    num_units: int = 8
    feature_dim: int = 16


class NearestFrames(nn.Module):
    """Compare frames by their cosine; see `spiritlm_pl.contracts.speech_tokenizer.Quantizer`."""

    config_class = NearestConfig

    def __init__(self, config: NearestConfig) -> None:
        """Remember nothing yet."""
        super().__init__()
        self.config, self.num_units, self.feature_dim = config, config.num_units, config.feature_dim
        self.register_buffer("frames", torch.zeros(config.num_units, config.feature_dim))

    @torch.no_grad()
    def remember(self, features: Tensor) -> None:
        """Choose frames of features (N, D) that are as far from each other as can be."""
        chosen = [0]
        while len(chosen) < self.num_units:
            likeness = nn.functional.cosine_similarity(features[:, None], features[chosen][None], dim=-1)
            chosen.append(int(likeness.amax(1).argmin()))
        self.frames.copy_(features[chosen])

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Give the units (B, T) of features (B, T, D) with lengths (B,)."""
        return nn.functional.cosine_similarity(features[:, :, None], self.frames, dim=-1).argmax(-1)
