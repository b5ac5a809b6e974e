"""Frame features of waveforms: the energy of bands of frequencies."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class BandConfig:
    """Sizes of the features; configurations of data modules name this class to build them.

    Args:
        feature_dim: number of frequency bands, and size of a feature vector.
        frame_rate: number of frames per second.
    """

    feature_dim: int = 16
    frame_rate: float = 25.0

    def build(self) -> "BandFeatures":
        """Build the features."""
        return BandFeatures(self)


class BandFeatures(nn.Module):
    """Measure the logarithmic energy of bands; see `spiritlm_pl.contracts.speech_tokenizer.FeatureExtractor`."""

    config_class = BandConfig
    sample_rate = 16_000

    def __init__(self, config: BandConfig) -> None:
        """Keep the sizes; there are no weights but a scale of the bands."""
        super().__init__()
        self.config, self.feature_dim, self.frame_rate = config, config.feature_dim, config.frame_rate
        self.register_buffer("scale", torch.ones(config.feature_dim))

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features (B, T, D) and numbers of frames (B,) of waveforms (B, S) with lengths (B,)."""
        hop = round(self.sample_rate / self.frame_rate)
        padding = max(0, hop - waveforms.shape[1])
        frames = nn.functional.pad(waveforms, (0, padding)).unfold(1, hop, hop)
        energy = torch.fft.rfft(frames).abs()[..., : hop // 8]  # up to 2 kHz, where the tones are
        bands = nn.functional.adaptive_avg_pool1d(energy, self.feature_dim)
        return torch.log(bands + 1e-4) * self.scale, lengths // hop
