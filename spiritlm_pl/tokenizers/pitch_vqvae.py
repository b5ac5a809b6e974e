"""Pitch VQ-VAE: an F0 contour to discrete codes and back (Spirit LM, arXiv 2402.05755, section 3.2).

The networks are those of Jukebox (Dhariwal et al., 2020): strided convolutions, each followed by a stack of
dilated residual blocks. 16 frames of 5 ms give one code, 12.5 codes a second.

Shapes: B batch, F F0 frames, T codes, D code dimension, C channels (F0 less its mean, voicing), K codes.
"""

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from spiritlm_pl.tokenizers.ema_codebook import EMACodebook

CHANNELS = 2  # F0, voicing
STRIDE = 2


@dataclass(frozen=True, kw_only=True)
class PitchVQVAEConfig:
    """Sizes; the defaults are the published ones.

    Args:
        num_codes: K.
        dim: D.
        width: channels of the convolutions.
        depth: residual blocks after each strided convolution.
        downsamplings: strided convolutions, each halving the rate.
        dilation_growth: dilation of residual block d is this to the power of d.
        reverse_decoder_dilation: the decoder's stacks begin with the largest dilation.
        residual_scale: scale residuals by 1 / sqrt(depth).
        frame_rate: F0 frames a second.
        decay: of the codebook's moving averages.
        f0_scale: Hz that count as one inside. The release reads Hz (1), beside which a voicing of 0 or 1 is nothing
            to the nearest code: set about the deviation of F0 from its mean to train a network of one's own.
    """

    num_codes: int = 64
    dim: int = 128
    width: int = 32
    depth: int = 4
    downsamplings: int = 4
    dilation_growth: int = 3
    reverse_decoder_dilation: bool = False
    residual_scale: bool = False
    frame_rate: float = 200.0
    decay: float = 0.99
    f0_scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("num_codes", "dim", "width", "depth", "downsamplings", "dilation_growth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)} instead")
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must be in (0, 1), but is {self.decay} instead")
        if not 0 < self.f0_scale < inf:
            raise ValueError(f"f0_scale must be above 0 and finite, but is {self.f0_scale} instead")


class ResidualBlock(nn.Module):
    """Two convolutions, the first one dilated, beside a shortcut; (B, width, F) to the same."""

    def __init__(self, width: int, dilation: int, scale: float) -> None:
        """Build the layers."""
        super().__init__()
        self.dilated = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.pointwise = nn.Conv1d(width, width, 1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual."""
        return x + self.scale * self.pointwise(relu(self.dilated(relu(x))))


def residual_stack(config: PitchVQVAEConfig, reverse: bool = False) -> nn.Sequential:
    """Residual blocks of growing (or shrinking) dilation."""
    scale = config.depth**-0.5 if config.residual_scale else 1.0
    blocks = [ResidualBlock(config.width, config.dilation_growth**d, scale) for d in range(config.depth)]
    return nn.Sequential(*(reversed(blocks) if reverse else blocks))


def encoder(config: PitchVQVAEConfig) -> nn.Sequential:
    """Contours (B, C, F) to latents (B, D, T)."""
    layers: list[nn.Module] = []
    for level in range(config.downsamplings):
        inputs = config.width if level else CHANNELS
        layers += [nn.Conv1d(inputs, config.width, 2 * STRIDE, STRIDE, STRIDE // 2), residual_stack(config)]
    return nn.Sequential(*layers, nn.Conv1d(config.width, config.dim, 3, padding=1))


def decoder(config: PitchVQVAEConfig) -> nn.Sequential:
    """Latents (B, D, T) to contours (B, C, F)."""
    layers: list[nn.Module] = [nn.Conv1d(config.dim, config.width, 3, padding=1)]
    for level in reversed(range(config.downsamplings)):
        outputs = config.width if level else config.dim
        layers += [
            residual_stack(config, config.reverse_decoder_dilation),
            nn.ConvTranspose1d(config.width, outputs, 2 * STRIDE, STRIDE, STRIDE // 2),
        ]
    return nn.Sequential(*layers, nn.Conv1d(config.dim, CHANNELS, 3, padding=1))


class PitchVQVAE(nn.Module):
    """Contours to codes and back."""

    config_class = PitchVQVAEConfig

    def __init__(self, config: PitchVQVAEConfig) -> None:
        """Build the networks."""
        super().__init__()
        self.config = config
        self.encoder = encoder(config)
        self.codebook = EMACodebook(config.num_codes, config.dim, config.decay)
        self.decoder = decoder(config)

    @property
    def frames_per_code(self) -> int:
        """F0 frames that give one code."""
        return STRIDE**self.config.downsamplings

    @property
    def code_rate(self) -> float:
        """Codes a second."""
        return self.config.frame_rate / self.frames_per_code

    @property
    def cardinality(self) -> int:
        """Number of different codes."""
        return self.config.num_codes

    def latents(self, contours: Tensor) -> Tensor:
        """Latents (B, T, D) of contours (B, C, F), T = F // frames_per_code."""
        latents: Tensor = self.encoder(contours / self._units(contours))
        return latents.transpose(1, 2)

    @torch.no_grad()
    def encode(self, contours: Tensor) -> Tensor:
        """Codes (B, T) of contours (B, C, F); what is shorter than a code has none."""
        if contours.shape[-1] < self.frames_per_code:
            return torch.zeros(len(contours), 0, dtype=torch.long, device=contours.device)
        index: Tensor = self.codebook(self.latents(contours))[0]
        return index

    def decode(self, codes: Tensor) -> Tensor:
        """Contours (B, C, T * frames_per_code) of codes (B, T)."""
        return self.decode_latents(self.codebook.codes[codes])

    def decode_latents(self, quantized: Tensor) -> Tensor:
        """Contours (B, C, T * frames_per_code) of codes or latents (B, T, D)."""
        contours: Tensor = self.decoder(quantized.transpose(1, 2))
        return contours * self._units(contours)

    def _units(self, contours: Tensor) -> Tensor:
        """What of each channel counts as one inside (C, 1)."""
        return contours.new_tensor([[self.config.f0_scale], [1.0]])
