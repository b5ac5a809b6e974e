"""Pitch VQ-VAE: an F0 contour to discrete codes and back (Spirit LM, arXiv 2402.05755, section 3.2).

The networks are those of Jukebox (Dhariwal et al., 2020): strided convolutions, each followed by a stack of dilated
residual blocks. 16 frames of 5 ms give one code, so that there are 12.5 codes per second.

Shapes: B batch, F F0 frames, T codes, D code dimension, C channels (F0 minus its mean, voicing), K codes.
"""

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from spiritlm_pl.runtime.limits import check_layers
from spiritlm_pl.tokenizers.ema_codebook import EMACodebook

CHANNELS = 2  # F0, voicing
STRIDE = 2


@dataclass(frozen=True, kw_only=True)
class PitchVQVAEConfig:
    """Sizes of a pitch VQ-VAE; the defaults are the published ones.

    Args:
        num_codes: number of codes in the codebook, K.
        dim: dimension of a code, D.
        width: number of channels of the convolutions.
        depth: number of residual blocks after each strided convolution.
        downsamplings: number of strided convolutions, each of which halves the rate.
        dilation_growth: base of the dilations; residual block d has this to the power of d.
        reverse_decoder_dilation: whether the decoder's stacks begin with the largest dilation.
        residual_scale: whether residuals are multiplied by 1 / sqrt(depth).
        frame_rate: number of F0 frames per second, in Hz.
        decay: weight of the past in the codebook's moving averages, in (0, 1).
        f0_scale: number of Hz by which F0 is divided inside the network. The published release uses Hz (1.0), so that a
            voicing of 0 or 1 hardly influences the nearest code. To train a network, set it to about the deviation of
            F0 from its mean.
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
        check_layers({"depth": self.depth}, "the configuration of the pitch VQ-VAE")
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must be in (0, 1), but is {self.decay} instead")
        if not 0 < self.f0_scale < inf:
            raise ValueError(f"f0_scale must be above 0 and finite, but is {self.f0_scale} instead")


class ResidualBlock(nn.Module):
    """Two convolutions, the first one dilated, with a skip connection; (B, width, F) to the same shape."""

    def __init__(self, width: int, dilation: int, scale: float) -> None:
        """Build the layers."""
        super().__init__()
        self.dilated = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.pointwise = nn.Conv1d(width, width, 1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual to `x`."""
        return x + self.scale * self.pointwise(relu(self.dilated(relu(x))))


def residual_stack(config: PitchVQVAEConfig, reverse: bool = False) -> nn.Sequential:
    """Stack residual blocks of growing (or shrinking) dilation."""
    scale = config.depth**-0.5 if config.residual_scale else 1.0
    blocks = [ResidualBlock(config.width, config.dilation_growth**d, scale) for d in range(config.depth)]
    return nn.Sequential(*(reversed(blocks) if reverse else blocks))


def encoder(config: PitchVQVAEConfig) -> nn.Sequential:
    """Build the network from contours (B, C, F) to latents (B, D, T)."""
    layers: list[nn.Module] = []
    for level in range(config.downsamplings):
        inputs = config.width if level else CHANNELS
        layers += [nn.Conv1d(inputs, config.width, 2 * STRIDE, STRIDE, STRIDE // 2), residual_stack(config)]
    return nn.Sequential(*layers, nn.Conv1d(config.width, config.dim, 3, padding=1))


def decoder(config: PitchVQVAEConfig) -> nn.Sequential:
    """Build the network from latents (B, D, T) to contours (B, C, F)."""
    layers: list[nn.Module] = [nn.Conv1d(config.dim, config.width, 3, padding=1)]
    for level in reversed(range(config.downsamplings)):
        outputs = config.width if level else config.dim
        layers += [
            residual_stack(config, config.reverse_decoder_dilation),
            nn.ConvTranspose1d(config.width, outputs, 2 * STRIDE, STRIDE, STRIDE // 2),
        ]
    return nn.Sequential(*layers, nn.Conv1d(config.dim, CHANNELS, 3, padding=1))


class PitchVQVAE(nn.Module):
    """VQ-VAE from F0 contours to codes and back."""

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
        """Number of F0 frames that give one code."""
        return STRIDE**self.config.downsamplings

    @property
    def code_rate(self) -> float:
        """Number of codes per second, in Hz."""
        return self.config.frame_rate / self.frames_per_code

    @property
    def cardinality(self) -> int:
        """Number of different codes."""
        return self.config.num_codes

    def latents(self, contours: Tensor) -> Tensor:
        """Compute latents (B, T, D) of contours (B, C, F), T = F // frames_per_code."""
        latents: Tensor = self.encoder(contours / self._units(contours))
        return latents.transpose(1, 2)

    @torch.no_grad()
    def encode(self, contours: Tensor) -> Tensor:
        """Encode contours (B, C, F) to codes (B, T); contours that are too short for a code give none."""
        if contours.shape[-1] < self.frames_per_code:
            return torch.zeros(len(contours), 0, dtype=torch.long, device=contours.device)
        index: Tensor = self.codebook(self.latents(contours))[0]
        return index

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes (B, T) to contours (B, C, T * frames_per_code)."""
        return self.decode_latents(self.codebook.codes[codes])

    def decode_latents(self, quantized: Tensor) -> Tensor:
        """Decode vectors of codes, or latents, (B, T, D) to contours (B, C, T * frames_per_code)."""
        contours: Tensor = self.decoder(quantized.transpose(1, 2))
        return contours * self._units(contours)

    def _units(self, contours: Tensor) -> Tensor:
        """Return the number by which each channel is divided inside the network (C, 1)."""
        return contours.new_tensor([[self.config.f0_scale], [1.0]])
