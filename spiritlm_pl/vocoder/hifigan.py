"""HiFi-GAN V1 generator (Kong et al., 2020) over embedded units: transposed convolutions and residual blocks.

The published sizes upsample by 640 = 5 x 4 x 4 x 4 x 2. Layers are named as in the published checkpoints.

Shapes: B batch, C channels, T frames, S = T * hop_length samples.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from spiritlm_pl.vocoder.config import VocoderConfig
from spiritlm_pl.vocoder.parts import Part, around, upsampled, with_reach
from spiritlm_pl.vocoder.vocoder import Vocoder

SLOPE = 0.1
LAST_SLOPE = 0.01


@dataclass(frozen=True, kw_only=True)
class HiFiGANConfig(VocoderConfig):
    """Configuration of a HiFi-GAN vocoder; the defaults are those of V1, with a total upsampling of 640.

    Args:
        upsample_rates: upsampling factor of each stage; their product is `hop_length`.
        upsample_kernel_sizes: taps of the transposed convolution of each stage.
        upsample_initial_channels: channels before the first stage; every stage halves them.
        resblock_kernel_sizes: taps of the residual blocks; every stage has one block of each size.
        resblock_dilations: dilations of the convolutions inside each of these blocks.
    """

    upsample_rates: tuple[int, ...] = (5, 4, 4, 4, 2)
    upsample_kernel_sizes: tuple[int, ...] = (11, 8, 8, 8, 4)
    upsample_initial_channels: int = 512
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))

    def __post_init__(self) -> None:
        """Check that the stages fit together."""
        super().__post_init__()
        if math.prod(self.upsample_rates) != self.hop_length:
            raise ValueError(
                f"the product of upsample_rates must be hop_length {self.hop_length}, "
                f"but is {math.prod(self.upsample_rates)} instead"
            )
        if len(self.upsample_kernel_sizes) != len(self.upsample_rates):
            raise ValueError(
                f"upsample_kernel_sizes must have {len(self.upsample_rates)} values, one per stage, "
                f"but has {len(self.upsample_kernel_sizes)} instead"
            )
        for rate, size in zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True):
            if size < rate or (size - rate) % 2:
                raise ValueError(f"a kernel size must be {rate} plus an even number, but is {size} instead")
        if len(self.resblock_dilations) != len(self.resblock_kernel_sizes):
            raise ValueError(
                f"resblock_dilations must have {len(self.resblock_kernel_sizes)} rows, one per kernel size, "
                f"but has {len(self.resblock_dilations)} instead"
            )
        if self.upsample_initial_channels % 2 ** len(self.upsample_rates):
            raise ValueError(
                f"upsample_initial_channels must be divisible by {2 ** len(self.upsample_rates)}, "
                f"but is {self.upsample_initial_channels} instead"
            )


def _conv(channels: int, kernel_size: int, dilation: int = 1) -> nn.Module:
    padding = dilation * (kernel_size - 1) // 2
    return weight_norm(nn.Conv1d(channels, channels, kernel_size, dilation=dilation, padding=padding))


class ResidualBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair with a skip connection."""

    def __init__(self, channels: int, kernel_size: int, dilations: tuple[int, ...]) -> None:
        """Build the layers."""
        super().__init__()
        self.convs1 = nn.ModuleList(_conv(channels, kernel_size, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_conv(channels, kernel_size) for _ in dilations)
        self.reaches = [_block_reach(kernel_size, dilations[pair:]) for pair in range(len(dilations))]

    def forward(self, x: Tensor, part: Part) -> Tensor:
        """Map (B, C, T) to the part of as many steps that is wanted."""
        for conv1, conv2, reach in zip(self.convs1, self.convs2, self.reaches, strict=True):
            x, part = with_reach(x, part, reach, 2)
            x = x + conv2(F.leaky_relu(conv1(F.leaky_relu(x, SLOPE)), SLOPE))
        return with_reach(x, part, 0, 2)[0]


def _block_reach(kernel_size: int, dilations: tuple[int, ...]) -> int:
    """Return how many steps on either side pairs of convolutions read."""
    return (kernel_size - 1) // 2 * (sum(dilations) + len(dilations))


class HiFiGANGenerator(nn.Module):
    """Generator from conditioning (B, C, T) to waveforms (B, S)."""

    def __init__(self, config: HiFiGANConfig) -> None:
        """Build the layers."""
        super().__init__()
        channels = config.upsample_initial_channels
        self.num_kernels = len(config.resblock_kernel_sizes)
        self.conv_pre = weight_norm(nn.Conv1d(config.conditioning_dim, channels, 7, padding=3))
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, size in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            padding = (size - rate) // 2
            self.ups.append(weight_norm(nn.ConvTranspose1d(channels, channels // 2, size, rate, padding)))
            channels //= 2
            for kernel_size, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilations, strict=True):
                self.resblocks.append(ResidualBlock(channels, kernel_size, tuple(dilations)))
        self.conv_post = weight_norm(nn.Conv1d(channels, 1, 7, padding=3))
        self.upsample_rates = tuple(config.upsample_rates)
        self.reaches = _reaches(config)
        self.margin = self.reaches[0] + 3  # conv_pre

    def forward(self, conditioning: Tensor) -> Tensor:
        """Generate waveforms (B, S) in [-1, 1] from conditioning (B, C, T)."""
        return self.part(conditioning, (0, conditioning.shape[2]))

    def part(self, conditioning: Tensor, frames: Part) -> Tensor:
        """Generate the waveforms (B, S') of some of the frames, as `forward` does those of all."""
        x, part = with_reach(conditioning, frames, self.margin, 2)
        x = self.conv_pre(x)
        for stage, (up, rate) in enumerate(zip(self.ups, self.upsample_rates, strict=True)):
            x, part = with_reach(x, part, self.reaches[stage], 2)
            x, part = up(F.leaky_relu(x, SLOPE)), upsampled(part, rate)
            read = around(part, self.reaches[stage + 1], x.shape[2])
            blocks = self.resblocks[stage * self.num_kernels : (stage + 1) * self.num_kernels]
            x = torch.stack([block(x, read) for block in blocks]).mean(0)
            part = part[0] - read[0], part[1] - read[0]
        x = torch.tanh(self.conv_post(F.leaky_relu(x, LAST_SLOPE)))
        return x[:, 0, part[0] : part[1]]


def _reaches(config: HiFiGANConfig) -> list[int]:
    """Return how many steps on either side each stage, and conv_post, reads of its input for a part of the waveform."""
    block = max(map(_block_reach, config.resblock_kernel_sizes, config.resblock_dilations))
    reach = 3
    reaches = [reach]
    for rate, size in zip(reversed(config.upsample_rates), reversed(config.upsample_kernel_sizes), strict=True):
        # Step t of a transposed convolution reads those from (t + padding - size + 1) / rate to (t + padding) / rate.
        reach = (reach + block + (size - rate) // 2 + rate - 1) // rate
        reaches.insert(0, reach)
    return reaches


class HiFiGANVocoder(Vocoder):
    """Unit vocoder with a HiFi-GAN generator."""

    config_class = HiFiGANConfig
    config: HiFiGANConfig

    def __init__(self, config: HiFiGANConfig) -> None:
        """Build the layers."""
        super().__init__(config)
        self.generator = HiFiGANGenerator(config)
