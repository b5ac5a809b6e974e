"""Discriminators of waveforms: multi-period and multi-scale (HiFi-GAN), and small ones over spectrograms.

Each maps waveforms (B, S) to a list of `DiscriminatorOutput`, one per period, scale or resolution.

Shapes: B batch, C channels, S samples, P period, K frequency bins, F frames.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from spiritlm_pl.tokenizers.spectra import centred_powers
from spiritlm_pl.vocoder.losses import DiscriminatorOutput

SLOPE = 0.1


class Discriminator(nn.Module, ABC):
    """Base class of discriminators, from waveforms (B, S) to scores and activations."""

    @abstractmethod
    def forward(self, waveforms: Tensor) -> list[DiscriminatorOutput]:
        """Score waveforms (B, S); see `DiscriminatorOutput`."""


class ConvStack(nn.Module):
    """Convolutions with leaky ReLU, then a convolution to one score; every activation is returned.

    Args:
        layers: convolutions, each followed by a leaky ReLU.
        last: convolution to one score.
    """

    def __init__(self, layers: list[nn.Module], last: nn.Module) -> None:
        """Build the layers."""
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.last = last

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        """Score an input of any shape that the first layer accepts."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        scores = self.last(x)
        return DiscriminatorOutput(scores.flatten(1), [*features, scores])


class MultiPeriodDiscriminator(Discriminator):
    """Discriminator that sees every P-th sample in a column of its own (Kong et al., 2020).

    Args:
        periods: periods P in samples, one sub-discriminator for each.
        channels: channels of the four strided layers; the fifth layer has those of the last.
    """

    def __init__(
        self, periods: tuple[int, ...] = (2, 3, 5, 7, 11), channels: tuple[int, ...] = (32, 128, 512, 1024)
    ) -> None:
        """Build the layers."""
        super().__init__()
        self.periods = tuple(periods)
        self.stacks = nn.ModuleList()
        for _ in self.periods:
            sizes = (1, *channels)
            layers = [
                weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), padding=(2, 0)))
                for a, b in zip(sizes, sizes[1:], strict=False)
            ]
            layers.append(weight_norm(nn.Conv2d(sizes[-1], sizes[-1], (5, 1), padding=(2, 0))))
            self.stacks.append(ConvStack(layers, weight_norm(nn.Conv2d(sizes[-1], 1, (3, 1), padding=(1, 0)))))

    def forward(self, waveforms: Tensor) -> list[DiscriminatorOutput]:
        """Score waveforms (B, S); return one output per period."""
        outputs = []
        for period, stack in zip(self.periods, self.stacks, strict=True):
            padded = F.pad(waveforms[:, None], (0, -waveforms.shape[1] % period), mode="reflect")
            outputs.append(stack(padded.unflatten(-1, (-1, period))))  # (B, 1, S / P, P)
        return outputs


class MultiScaleDiscriminator(Discriminator):
    """Discriminator that sees the waveform and its averages over 2, 4, ... samples (Kumar et al., 2019).

    Args:
        num_scales: number of scales, 1 for the waveform alone. The first scale has spectral norm, the others weight
            norm.
        channels: channels of the widest layer.
    """

    def __init__(self, num_scales: int = 3, channels: int = 1024) -> None:
        """Build the layers."""
        super().__init__()
        c = channels
        plan = [  # in, out, kernel, stride, groups
            (1, c // 8, 15, 1, 1),
            (c // 8, c // 8, 41, 2, 4),
            (c // 8, c // 4, 41, 2, 16),
            (c // 4, c // 2, 41, 4, 16),
            (c // 2, c, 41, 4, 16),
            (c, c, 41, 1, 16),
            (c, c, 5, 1, 1),
        ]
        self.stacks = nn.ModuleList()
        for scale in range(num_scales):
            norm = spectral_norm if scale == 0 else weight_norm
            layers = [norm(nn.Conv1d(a, b, k, s, padding=k // 2, groups=g)) for a, b, k, s, g in plan]
            self.stacks.append(ConvStack(layers, norm(nn.Conv1d(c, 1, 3, padding=1))))

    def forward(self, waveforms: Tensor) -> list[DiscriminatorOutput]:
        """Score waveforms (B, S); return one output per scale."""
        x = waveforms[:, None]
        outputs = []
        for scale, stack in enumerate(self.stacks):
            if scale:
                x = F.avg_pool1d(x, 4, 2, padding=2)
            outputs.append(stack(x))
        return outputs


class SpectrogramDiscriminator(Discriminator):
    """Two-dimensional convolutions over log magnitudes at several resolutions, small enough to train on a CPU.

    Args:
        n_ffts: frame sizes in samples, one resolution for each; the hop is a quarter of the frame.
        channels: number of channels of the convolutions.
    """

    def __init__(self, n_ffts: tuple[int, ...] = (512, 1024), channels: int = 32) -> None:
        """Build the layers."""
        super().__init__()
        self.n_ffts = tuple(n_ffts)
        self.stacks = nn.ModuleList()
        for n_fft in self.n_ffts:
            self.register_buffer(f"window{n_fft}", torch.hann_window(n_fft), persistent=False)
            layers: list[nn.Module] = [weight_norm(nn.Conv2d(1, channels, (7, 5), (2, 2), padding=(3, 2)))]
            layers += [
                weight_norm(nn.Conv2d(channels, channels, (5, 3), (2, stride), padding=(2, 1))) for stride in (1, 2, 1)
            ]
            self.stacks.append(ConvStack(layers, weight_norm(nn.Conv2d(channels, 1, 3, padding=1))))

    def forward(self, waveforms: Tensor) -> list[DiscriminatorOutput]:
        """Score waveforms (B, S); return one output per resolution."""
        outputs = []
        for n_fft, stack in zip(self.n_ffts, self.stacks, strict=True):
            window: Tensor = getattr(self, f"window{n_fft}")
            power = centred_powers(waveforms.float(), window, n_fft // 4).transpose(1, 2)
            levels = (power + 1e-7).log()[:, None] / 5  # (B, 1, K, F)
            # Channels side by side are much faster on a CPU; the layers after the first keep this order.
            outputs.append(stack(levels.contiguous(memory_format=torch.channels_last)))
        return outputs
