"""A vocoder: each unit is a sum of sines whose strengths are learnt."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spiritlm_pl.vocoder.config import VocoderConfig
from spiritlm_pl.vocoder.vocoder import Vocoder


@dataclass(frozen=True, kw_only=True)
class SineConfig(VocoderConfig):
    """Sizes of the vocoder.

    Args:
        lowest: frequency of the first sine in Hz.
        num_sines: number of sines, each an octave above the one before.
    """

    lowest: float = 200.0
    num_sines: int = 4


class SineGenerator(nn.Module):
    """Generator that adds sines, whose amplitudes are computed from the conditioning."""

    margin = 0  # frames on either side that a frame's sound depends on

    def __init__(self, config: SineConfig) -> None:
        """Build the layer."""
        super().__init__()
        self.config = config
        self.strengths = nn.Conv1d(config.embedding_dim * 2, config.num_sines, 1)

    def forward(self, conditioning: Tensor) -> Tensor:
        """Compute waveforms (B, S) from conditioning vectors (B, C, T)."""
        strengths = self.strengths(conditioning).repeat_interleave(self.config.hop_length, dim=2)  # (B, N, S)
        time = torch.arange(strengths.shape[2], device=strengths.device) / self.config.sample_rate
        octaves = 2.0 ** torch.arange(self.config.num_sines, device=strengths.device)
        sines = torch.sin(2 * math.pi * self.config.lowest * octaves[:, None] * time)
        return (strengths * sines).sum(1).clamp(-1, 1)


class SineVocoder(Vocoder):
    """Vocoder that synthesises units as sines; embeddings, voices and durations are those of all vocoders."""

    config_class = SineConfig

    def __init__(self, config: SineConfig) -> None:
        """Build the layers."""
        super().__init__(config)
        self.generator = SineGenerator(config)
