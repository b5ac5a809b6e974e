"""MFCC features, the targets of HuBERT's first iteration and the baseline for its units.

Thirteen cepstra, their deltas and delta-deltas at 100 Hz (Hsu et al., 2021, section 3.1), are averaged or stacked to a
chosen frame rate. The features of an utterance do not depend on what it is batched with.

Shapes: B batch, S samples, F frames at 100 Hz, T frames at `frame_rate`, D feature dimension.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.functional import compute_deltas
from torchaudio.transforms import MFCC

from spiritlm_pl.contracts.batches import within
from spiritlm_pl.contracts.speech_tokenizer import exact_hop
from spiritlm_pl.tokenizers.mel_spectrum import mel_powers

ANALYSIS_RATE = 100  # Hz


def normalize_frames(frames: Tensor, lengths: Tensor) -> Tensor:
    """Scale to zero mean and unit deviation over the valid frames, which removes much of speaker and channel.

    Args:
        frames: frames of each utterance (B, T, D).
        lengths: number of valid frames (B,).
    """
    valid = within(lengths, frames.shape[1]).unsqueeze(-1)
    count = lengths.clamp(min=1)[:, None, None]
    mean = (frames * valid).sum(1, keepdim=True) / count
    variance = ((frames - mean).square() * valid).sum(1, keepdim=True) / count
    return (frames - mean) / (variance + 1e-5).sqrt()


def smooth_frames(frames: Tensor, lengths: Tensor, share: float) -> Tensor:
    """Average each frame with its neighbours; at the edges, weights are rescaled to the valid frames.

    Args:
        frames: frames of each utterance (B, T, D).
        lengths: number of valid frames (B,).
        share: weight of either neighbour; the frame itself has the rest.
    """
    valid = within(lengths, frames.shape[1]).to(frames.dtype).unsqueeze(-1)
    padded = functional.pad(torch.cat([frames * valid, valid], dim=-1), (0, 0, 1, 1))  # (B, T + 2, D + 1)
    mixed = (1 - 2 * share) * padded[:, 1:-1] + share * (padded[:, :-2] + padded[:, 2:])
    return mixed[..., :-1] / mixed[..., -1:].clamp(min=1 - 2 * share) * valid


def block_means(frames: Tensor, counts: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Average blocks of frames.

    Args:
        frames: frames (B, T, D).
        counts: number of valid frames (B,).
        size: number of frames in a block; the last block may be shorter.

    Returns:
        The means (B, Y, D), and the number of blocks (B,).
    """
    valid = within(counts, frames.shape[1])
    missing = -frames.shape[1] % size
    blocks = functional.pad(frames * valid[..., None], (0, 0, 0, missing)).unflatten(1, (-1, size)).sum(2)
    sizes = functional.pad(valid, (0, missing)).unflatten(1, (-1, size)).sum(2)
    return blocks / sizes.clamp(min=1)[..., None], -(-counts // size)


@dataclass(frozen=True, kw_only=True)
class MFCCConfig:
    """Settings of MFCC features.

    Args:
        sample_rate: sample rate of the waveforms, in Hz.
        frame_rate: number of frames per second, in Hz; it must divide 100.
        num_coefficients: number of cepstra, before deltas.
        num_mels: number of mel bands from which the cepstra are computed.
        pooling: how the 100 Hz frames within a frame are combined: "mean" averages, "stack" concatenates them.
        normalize: whether to subtract the utterance's mean and divide by its deviation.
    """

    sample_rate: int = 16_000
    frame_rate: float = 25.0
    num_coefficients: int = 13
    num_mels: int = 40
    pooling: str = "mean"
    normalize: bool = True

    def __post_init__(self) -> None:
        """Check the rates and names."""
        exact_hop(self.sample_rate, self.frame_rate)
        if self.sample_rate % ANALYSIS_RATE:
            raise ValueError(f"sample_rate must be divisible by {ANALYSIS_RATE}, but is {self.sample_rate} instead")
        if ANALYSIS_RATE % self.frame_rate:
            raise ValueError(f"frame_rate must divide {ANALYSIS_RATE}, but is {self.frame_rate} instead")
        if self.pooling not in ("mean", "stack"):
            raise ValueError(f"pooling must be 'mean' or 'stack', but is {self.pooling!r} instead")

    def build(self) -> "MFCCFeatures":
        """Build the extractor."""
        return MFCCFeatures(self)


class MFCCFeatures(nn.Module):
    """Extractor of MFCCs at a chosen frame rate; it has no parameters."""

    config_class = MFCCConfig

    def __init__(self, config: MFCCConfig) -> None:
        """Build the filter banks."""
        super().__init__()
        self.config = config
        self.window = config.sample_rate // 40  # 25 ms
        self.step = config.sample_rate // ANALYSIS_RATE
        self.group = int(ANALYSIS_RATE // config.frame_rate)
        self.fft_size = 1 << (self.window - 1).bit_length()
        self.mfcc = MFCC(
            sample_rate=config.sample_rate,
            n_mfcc=config.num_coefficients,
            log_mels=True,
            melkwargs={
                "n_fft": self.fft_size,
                "win_length": self.window,
                "hop_length": self.step,
                "n_mels": config.num_mels,
                "center": False,
                "f_min": 20.0,
            },
        )

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms, in Hz."""
        return self.config.sample_rate

    @property
    def frame_rate(self) -> float:
        """Number of frames per second, in Hz."""
        return self.config.frame_rate

    @property
    def feature_dim(self) -> int:
        """Size of a frame's feature vector: cepstra, deltas and delta-deltas."""
        return 3 * self.config.num_coefficients * (self.group if self.config.pooling == "stack" else 1)

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features (B, T, D) and numbers of frames (B,), T = S // hop_length, of waveforms (B, S)."""
        batch, samples = waveforms.shape
        num_frames = lengths // (self.step * self.group)
        longest = samples // (self.step * self.group)
        if longest == 0:
            return waveforms.new_zeros(batch, 0, self.feature_dim), num_frames
        inside = within(lengths, samples)
        border = (self.fft_size - self.step) // 2
        padded = functional.pad(waveforms.float() * inside, (border, border))
        with torch.autocast(waveforms.device.type, enabled=False):
            mels = (mel_powers(self.mfcc.MelSpectrogram, padded) + 1e-6).log()
            cepstra = (mels @ self.mfcc.dct_mat).transpose(1, 2)  # (B, C, F)
        fine = num_frames * self.group
        cepstra = self._extend_last(cepstra[..., : longest * self.group], fine)
        deltas = self._extend_last(compute_deltas(cepstra), fine)
        features = torch.cat([cepstra, deltas, compute_deltas(deltas)], dim=1).transpose(1, 2)  # (B, F, 3C)
        if self.config.normalize:
            features = normalize_frames(features, fine)
        features = features.reshape(batch, longest, self.group, -1)
        pooled = features.mean(2) if self.config.pooling == "mean" else features.flatten(2)
        return pooled, num_frames

    @staticmethod
    def _extend_last(values: Tensor, lengths: Tensor) -> Tensor:
        """Repeat the last valid frame of (B, C, F) after the end, as delta windows do at a border."""
        last = (lengths - 1).clamp(min=0)[:, None, None]
        index = torch.arange(values.shape[-1], device=values.device)[None, None].minimum(last)
        return values.gather(-1, index.expand(*values.shape[:2], -1))
