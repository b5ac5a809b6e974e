"""Frame features of prosody alone: convolutions over changes of F0, voicing and loudness.

They serve a classifier of styles that hears neither words nor timbre, in the manner of the F0 and energy contours that
recognise emotion (Schuller et al., 2003). The network is independent of those that make the tokens.

Shapes: B batch, S samples at 16 kHz, F frames at 200 Hz, T frames at 5 Hz, D feature dimension.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from spiritlm_pl.contracts.batches import within
from spiritlm_pl.f0.contour import voiced_mean
from spiritlm_pl.f0.extractors import make_extractor
from spiritlm_pl.f0.frames import HOP_LENGTH, SAMPLE_RATE, F0Extractor
from spiritlm_pl.registry import check_name
from spiritlm_pl.tokenizers.features import block_means

GROUP, STRIDE, LAYERS = 5, 2, 3  # frames at 200 Hz are averaged to 40 Hz; each convolution halves the rate
TYPICAL_F0 = 150.0  # Hz
SCALE = 4.0  # factor on logarithms of F0, which change less than those of loudness
QUIET = 1e-3  # amplitude that is added before the logarithm, as that of silence


@dataclass(frozen=True, kw_only=True)
class ProsodyConfig:
    """Settings of a prosody encoder.

    Args:
        f0: F0 extractor, see `make_extractor`. YIN needs no other package and is fast enough for training.
        channels: number of channels of every convolution, and size of a feature vector, D.
        kernel: taps of every convolution, an odd number.
        dropout: probability of dropping an activation after every convolution.

    Raises:
        ValueError: if there is no such extractor, or a size is out of its range.
    """

    f0: str
    channels: int = 64
    kernel: int = 9
    dropout: float = 0.3

    def __post_init__(self) -> None:
        """Check the values."""
        check_name("f0", self.f0, "f0")
        if self.channels < 1:
            raise ValueError(f"channels must be at least 1, but is {self.channels} instead")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, but is {self.kernel} instead")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), but is {self.dropout} instead")

    def build(self) -> "ProsodyEncoder":
        """Build an encoder with random weights."""
        return ProsodyEncoder(self)


class ProsodyEncoder(nn.Module):
    """Feature extractor of prosody; features do not depend on what an utterance is batched with."""

    config_class = ProsodyConfig

    def __init__(self, config: ProsodyConfig) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = config
        self._extractors: list[F0Extractor] = [make_extractor(config.f0)]  # in a list, so as not to be saved
        sizes = [4, *[config.channels] * LAYERS]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, config.kernel, STRIDE, config.kernel // 2)
            for before, after in zip(sizes, sizes[1:], strict=False)
        )
        self.dropout = nn.Dropout(config.dropout)

    @property
    def feature_dim(self) -> int:
        """Size of a frame's feature vector, D."""
        return self.config.channels

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms, in Hz."""
        return SAMPLE_RATE

    @property
    def frame_rate(self) -> float:
        """Number of frames per second, in Hz."""
        return SAMPLE_RATE / (HOP_LENGTH * GROUP * STRIDE**LAYERS)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features (B, T, D) and numbers of frames (B,) from waveforms (B, S) with lengths (B,)."""
        frames, counts = self.contours(waveforms, lengths)
        frames = frames.transpose(1, 2).to(next(self.parameters()).dtype)  # (B, 4, F / GROUP)
        for convolution in self.convolutions:
            frames = self.dropout(gelu(convolution(frames)))
            counts = -(-counts // STRIDE)
            frames = frames * within(counts, frames.shape[-1])[:, None]
        return frames.transpose(1, 2), counts

    def extractor(self, device: torch.device) -> F0Extractor:
        """Return the F0 extractor, moved to a device if it has weights."""
        (found,) = self._extractors
        return found.to(device) if isinstance(found, nn.Module) else found

    @torch.no_grad()
    def contours(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the input of the convolutions, and the number of frames (B,) at 40 Hz.

        Returns:
            Frames (B, F / GROUP, 4), 0 after the end: F0 relative to the utterance's mean, in units of 4.3 semitones;
            voicing; loudness relative to the mean, in nepers; the mean F0 relative to 150 Hz, in units of 4.3
            semitones.
        """
        waveforms = waveforms.float() * within(lengths, waveforms.shape[1])
        with torch.autocast(waveforms.device.type, enabled=False):  # F0 in Hz needs full precision
            f0, voiced = self.extractor(waveforms.device)(waveforms, lengths)
        counts = lengths // HOP_LENGTH + 1
        valid = within(counts, f0.shape[1])
        mean = voiced_mean(f0, voiced)[:, None]
        has_voice = valid & (mean > 0)
        contour = torch.where(has_voice, SCALE * (f0.clamp(min=1) / mean.clamp(min=1)).log(), 0.0)
        height = torch.where(has_voice, SCALE * (mean.clamp(min=1) / TYPICAL_F0).log(), 0.0)
        squares = pad(waveforms.square(), (0, f0.shape[1] * HOP_LENGTH - waveforms.shape[1]))
        loudness = (squares.unflatten(1, (-1, HOP_LENGTH)).mean(-1).sqrt() + QUIET).log()
        loudness = torch.where(valid, loudness - (loudness * valid).sum(1, keepdim=True) / counts[:, None], 0.0)
        frames = torch.stack([contour, voiced.to(f0.dtype), loudness, height], dim=-1)
        return block_means(frames, counts, GROUP)
