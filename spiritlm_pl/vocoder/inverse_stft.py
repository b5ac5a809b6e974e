"""Inverse-STFT generator (Vocos, Siuzdak, 2023): ConvNeXt blocks, a spectrogram, inverse FFTs.

Most of the work is done at the unit rate and at a few times that rate, never at the sample rate. So it is much cheaper
than HiFi-GAN on a CPU.

Shapes: B batch, C channels, T unit frames, F = T * upsampling spectrogram frames, K = n_fft / 2 + 1 bins,
S = T * hop_length samples.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spiritlm_pl.runtime.inference import ChannelsLastConv1d
from spiritlm_pl.runtime.onednn_linear import use_onednn
from spiritlm_pl.vocoder.config import VocoderConfig
from spiritlm_pl.vocoder.parts import Part, upsampled, with_reach
from spiritlm_pl.vocoder.vocoder import Vocoder


@dataclass(frozen=True, kw_only=True)
class InverseSTFTConfig(VocoderConfig):
    """Configuration of an inverse-STFT vocoder.

    Args:
        channels: channels of the ConvNeXt blocks.
        hidden_channels: channels inside their pointwise layers.
        unit_blocks: number of blocks at the unit rate, which see the context of a unit.
        frame_blocks: number of blocks at the spectrogram's frame rate.
        upsampling: number of spectrogram frames per unit frame.
        n_fft: number of samples in a spectrogram frame, at least twice the number between frames.
        kernel_size: taps of the depthwise convolutions, an odd number.
    """

    channels: int = 256
    hidden_channels: int = 768
    unit_blocks: int = 4
    frame_blocks: int = 4
    upsampling: int = 4
    n_fft: int = 640
    kernel_size: int = 7

    def __post_init__(self) -> None:
        """Check that frames and hops fit."""
        super().__post_init__()
        if self.hop_length % self.upsampling:
            raise ValueError(f"upsampling must divide hop_length {self.hop_length}, but is {self.upsampling} instead")
        hop = self.frame_hop
        if self.n_fft < 2 * hop or (self.n_fft - hop) % 2:
            raise ValueError(f"n_fft must be {hop} plus an even number of at least {hop}, but is {self.n_fft} instead")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, but is {self.kernel_size} instead")

    @property
    def frame_hop(self) -> int:
        """Number of samples between spectrogram frames."""
        return self.hop_length // self.upsampling


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, layer norm, pointwise layers with GELU, scaled residual (Liu et al., 2022).

    Args:
        channels: number of channels of input and output, C.
        hidden_channels: number of channels between the pointwise layers.
        kernel_size: taps of the depthwise convolution, an odd number.
        scale: initial factor of the residual, which is learnt for each channel.
    """

    def __init__(self, channels: int, hidden_channels: int, kernel_size: int, scale: float) -> None:
        """Build the layers."""
        super().__init__()
        self.depthwise = ChannelsLastConv1d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, hidden_channels)
        self.contract = nn.Linear(hidden_channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, C) to the same shape."""
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return x + self.scale * self.contract(F.gelu(self.expand(self.norm(y))))


class InverseSTFTHead(nn.Module):
    """Output layer: predicts log magnitude and phase of every frame, and overlap-adds the windowed inverse FFTs.

    Args:
        channels: number of channels of the input, C.
        n_fft: number of samples in a spectrogram frame.
        hop: number of samples between spectrogram frames.
    """

    window: Tensor

    def __init__(self, channels: int, n_fft: int, hop: int) -> None:
        """Build the layers."""
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.out = nn.Linear(channels, n_fft + 2)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Generate waveforms (B, F * hop) from (B, F, C)."""
        log_magnitude, phase = self.out(x).float().chunk(2, dim=-1)  # (B, F, K) each
        magnitude = log_magnitude.clamp(max=5.0).exp()  # so that no burst makes the loss explode
        frames = torch.fft.irfft(torch.polar(magnitude, phase), n=self.n_fft) * self.window  # (B, F, n_fft)
        return self._overlap_add(frames) / self._overlap_add(self.window.square().expand(1, x.shape[1], -1))

    def _overlap_add(self, frames: Tensor) -> Tensor:
        num_frames, trim = frames.shape[1], (self.n_fft - self.hop) // 2
        summed = F.fold(
            frames.transpose(1, 2),
            output_size=(1, (num_frames - 1) * self.hop + self.n_fft),
            kernel_size=(1, self.n_fft),
            stride=(1, self.hop),
        )[:, 0, 0]
        return summed[:, trim : trim + num_frames * self.hop]


class InverseSTFTGenerator(nn.Module):
    """Generator from conditioning (B, C, T) to waveforms (B, S)."""

    def __init__(self, config: InverseSTFTConfig) -> None:
        """Build the layers."""
        super().__init__()
        channels = config.channels
        scale = 1 / (config.unit_blocks + config.frame_blocks)

        def blocks(number: int) -> nn.Sequential:
            return nn.Sequential(
                *(ConvNeXtBlock(channels, config.hidden_channels, config.kernel_size, scale) for _ in range(number))
            )

        self.embed = nn.Conv1d(config.conditioning_dim, channels, config.kernel_size, padding=config.kernel_size // 2)
        self.embed_norm = nn.LayerNorm(channels)
        self.unit_blocks = blocks(config.unit_blocks)
        self.upsample = nn.Linear(channels, channels * config.upsampling)
        self.frame_blocks = blocks(config.frame_blocks)
        self.norm = nn.LayerNorm(channels)
        self.head = InverseSTFTHead(channels, config.n_fft, config.frame_hop)
        wide = config.kernel_size // 2
        overlapping = math.ceil((config.n_fft - config.frame_hop) / 2 / config.frame_hop)
        self.upsampling, self.frame_hop = config.upsampling, config.frame_hop
        self.frame_reach = config.frame_blocks * wide + overlapping  # in frames of the transform
        self.unit_reach = math.ceil(self.frame_reach / config.upsampling)
        self.margin = (1 + config.unit_blocks) * wide + self.unit_reach

    def forward(self, conditioning: Tensor) -> Tensor:
        """Generate waveforms (B, S) from conditioning (B, C, T); in evaluation they are clipped to [-1, 1]."""
        return self.part(conditioning, (0, conditioning.shape[2]))

    def part(self, conditioning: Tensor, frames: Part) -> Tensor:
        """Generate the waveforms (B, S') of some of the frames, as `forward` does those of all."""
        x, part = with_reach(conditioning, frames, self.margin, 2)
        x = self.embed_norm(self.embed(x).transpose(1, 2))  # (B, T, C)
        x, part = with_reach(self.unit_blocks(x), part, self.unit_reach, 1)
        x = self.upsample(x).reshape(len(x), -1, self.norm.normalized_shape[0])  # (B, F, C)
        x, part = with_reach(x, upsampled(part, self.upsampling), self.frame_reach, 1)
        waveforms: Tensor = self.head(self.norm(self.frame_blocks(x)))
        first, end = upsampled(part, self.frame_hop)
        waveforms = waveforms[:, first:end]
        return waveforms.clamp(-1, 1) if not self.training else waveforms


class InverseSTFTVocoder(Vocoder):
    """Unit vocoder with an inverse-STFT generator."""

    config_class = InverseSTFTConfig
    config: InverseSTFTConfig

    def __init__(self, config: InverseSTFTConfig) -> None:
        """Build the layers."""
        super().__init__(config)
        self.generator = InverseSTFTGenerator(config)
        use_onednn(self.generator)
