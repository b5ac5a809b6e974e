"""Augmentation of audio: the same words at another speed, pitch, room and noise (Gat et al., 2023).

Every random number comes from a generator with a given seed, so that a resumed run augments as an uninterrupted one.

Shapes: B batch, S samples.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import add_noise, resample

from spiritlm_pl.contracts.batches import within


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """One random chain of changes for each batch of waveforms.

    Args:
        speed: lowest and highest factor of the speed, with the pitch kept.
        pitch: lowest and highest factor of the pitch, with the speed kept.
        reverberation: longest reverberation time in seconds; 0 adds none.
        signal_to_noise: lowest and highest ratio of signal to added noise, in dB.
        probability: probability of each of the four changes.
        sample_rate: sample rate of the waveforms, in Hz.
    """

    speed: tuple[float, float] = (0.85, 1.2)
    pitch: tuple[float, float] = (0.85, 1.2)
    reverberation: float = 0.3
    signal_to_noise: tuple[float, float] = (10.0, 30.0)
    probability: float = 0.5
    sample_rate: int = 16_000

    def __call__(self, waveforms: Tensor, lengths: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Augment waveforms; changes of the speed change the lengths.

        Args:
            waveforms: batch of waveforms (B, S).
            lengths: number of samples (B,) of each waveform.
            seed: seed of this batch; the same seed gives the same changes.

        Returns:
            Waveforms (B, S') and lengths (B,).
        """
        generator = torch.Generator().manual_seed(seed)

        def chance() -> bool:
            return bool(torch.rand(1, generator=generator) < self.probability)

        def between(bounds: tuple[float, float]) -> float:
            return float(bounds[0] + (bounds[1] - bounds[0]) * torch.rand(1, generator=generator))

        speed = between(self.speed) if chance() else 1.0
        pitch = between(self.pitch) if chance() else 1.0
        reverberate, noisy = chance(), chance()
        inside = within(lengths, waveforms.shape[1])
        result = waveforms * inside
        if speed != 1.0 or pitch != 1.0:
            # Stretching by pitch / speed, then resampling by pitch, divides durations by speed and raises the pitch.
            result = _resample_by(stretch(result, speed / pitch), pitch)
            lengths = (lengths / speed).long().clamp(max=result.shape[1])
        if reverberate and self.reverberation > 0:
            result = self._reverberate(result, between((0.05, self.reverberation)), generator)
        if noisy:
            noise = torch.randn(result.shape, generator=generator).to(result)
            ratio = torch.full((len(result),), between(self.signal_to_noise), device=result.device)
            silent = result.abs().amax(1, keepdim=True) == 0
            result = torch.where(silent, result, add_noise(result, noise, ratio, lengths))
        inside = within(lengths, result.shape[1])
        return result * inside, lengths

    def _reverberate(self, waveforms: Tensor, seconds: float, generator: torch.Generator) -> Tensor:
        """Convolve with a direct path and an exponentially decaying noise tail (by 60 dB in `seconds`)."""
        length = int(seconds * self.sample_rate)
        time = torch.arange(length) / self.sample_rate
        tail = torch.randn(length, generator=generator) * torch.exp(-6.9 * time / seconds)
        response = 0.5 * tail / tail.norm()
        response[0] = 1.0
        size = _transform_size(waveforms.shape[1] + length - 1)
        spectra = torch.fft.rfft(waveforms, size) * torch.fft.rfft(response.to(waveforms), size)
        return torch.fft.irfft(spectra, size)[:, : waveforms.shape[1]]


def _transform_size(samples: int) -> int:
    """Return a number of samples, at least as many, without a prime factor above 5, which make transforms slow."""
    step = 1 << max(0, samples.bit_length() - 4)
    return next(step * factor for factor in (1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 16) if step * factor >= samples)


def stretch(waveforms: Tensor, rate: float, size: int = 512) -> Tensor:
    """Play waveforms (B, S) `rate` times as fast with their pitch kept, by a phase vocoder; (B, S / rate)."""
    if abs(rate - 1.0) < 1e-3:
        return waveforms
    hop = size // 4
    window = torch.hann_window(size, device=waveforms.device)
    spectrum = torch.stft(waveforms, size, hop, window=window, return_complex=True).transpose(1, 2)
    positions = torch.arange(0, spectrum.shape[1], rate, device=waveforms.device)
    index = positions.long()
    share = (positions - index).to(waveforms)[:, None]
    padded = functional.pad(spectrum, (0, 0, 0, 2))
    magnitudes = padded.abs()
    magnitude = torch.lerp(magnitudes.index_select(1, index), magnitudes.index_select(1, index + 1), share)
    # Frames stand as far apart as before, so each turns the phase as far as the one it is taken from: a product of unit
    # numbers, without angles, whose sums would grow with the length and lose digits.
    tiny = torch.finfo(magnitudes.dtype).tiny  # smaller numbers have fewer digits, and would give no unit number
    unit = torch.where(magnitudes >= tiny, padded / magnitudes.clamp(min=tiny), 1)
    turns = (unit[:, 1:] * unit[:, :-1].conj()).index_select(1, index[:-1])
    phase = torch.cat([unit[:, :1], turns], dim=1).cumprod(1)
    stretched = (magnitude * phase).transpose(1, 2)
    return torch.istft(stretched, size, hop, window=window, length=round(waveforms.shape[1] / rate))


def _resample_by(waveforms: Tensor, factor: float) -> Tensor:
    """Shorten (B, S) to (B, S / factor), which raises the pitch by `factor`."""
    if abs(factor - 1.0) < 1e-3:
        return waveforms
    old = round(factor * 100)
    return resample(waveforms, old, 100)
