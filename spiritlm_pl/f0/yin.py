"""Fundamental frequency by YIN (de Cheveigne and Kawahara, 2002), to compare a resynthesis with its original.

Shapes: B batch, S samples, F frames, L lags.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

FRAME_RATE = 100.0


def yin_f0(
    waveforms: Tensor,
    sample_rate: int,
    *,
    f_min: float = 70.0,
    f_max: float = 450.0,
    frame_rate: float = FRAME_RATE,
    threshold: float = 0.2,
) -> tuple[Tensor, Tensor]:
    """Estimate F0 of waveforms (B, S).

    A frame that is not silent is voiced where the normalised difference dips below `threshold`.

    Args:
        waveforms: waveforms to analyse (B, S).
        sample_rate: sample rate of the waveforms in Hz.
        f_min: lowest F0 that is looked for, in Hz.
        f_max: highest F0 that is looked for, in Hz.
        frame_rate: number of frames per second of the result.
        threshold: normalised difference (aperiodicity) below which a frame is voiced.

    Returns:
        F0 in Hz (B, F), 0 where unvoiced, and the voicing (B, F) bool.

    Raises:
        ValueError: if f_min is not between 0 and f_max.
    """
    if not 0 < f_min < f_max:
        raise ValueError(f"f_min must be in (0, {f_max}), but is {f_min} instead")
    hop = round(sample_rate / frame_rate)
    if waveforms.shape[1] < hop:
        return waveforms.new_zeros(len(waveforms), 0), waveforms.new_zeros(len(waveforms), 0, dtype=torch.bool)
    shortest, longest = int(sample_rate / f_max), int(sample_rate / f_min) + 1
    window = 2 * longest
    padded = F.pad(waveforms.float(), (window // 2, window // 2 + longest))
    frames = padded.unfold(-1, window + longest, hop)[:, : waveforms.shape[1] // hop]  # (B, F, window + L)
    size = 2 ** (window + longest).bit_length()
    head = torch.fft.rfft(frames[..., :window], n=size)
    cross = torch.fft.irfft(torch.fft.rfft(frames, n=size) * head.conj(), n=size)[..., : longest + 1]
    energy = F.pad(frames.square().cumsum(-1), (1, 0))
    energies = energy[..., window : window + longest + 1] - energy[..., : longest + 1]  # of the shifted windows
    difference = (energies[..., :1] + energies - 2 * cross).clamp(min=0)  # (B, F, L + 1)
    lags = torch.arange(1, longest + 1, device=waveforms.device)
    normalised = difference[..., 1:] * lags / difference[..., 1:].cumsum(-1).clamp(min=1e-8)  # lag l at l - 1
    candidates = normalised[..., shortest - 1 :]
    below = candidates < threshold
    rising = F.pad(candidates[..., 1:] >= candidates[..., :-1], (0, 1), value=True)
    first = (below & rising).float().argmax(-1)  # the first dip's bottom
    voiced = below.any(-1) & (energies[..., 0] / window > 1e-6)
    lag = (first + shortest).float() + _parabola(candidates, first)
    return torch.where(voiced, sample_rate / lag, 0.0), voiced


def _parabola(values: Tensor, index: Tensor) -> Tensor:
    """Return the offset in [-1/2, 1/2] from `index` (B, F) to the minimum of a parabola through values (B, F, L)."""
    middle = index.clamp(1, values.shape[-1] - 2)
    left, centre, right = (values.gather(-1, (middle + o)[..., None])[..., 0] for o in (-1, 0, 1))
    curvature = left - 2 * centre + right
    offset = (0.5 * (left - right) / curvature.clamp(min=1e-8)).clamp(-0.5, 0.5)
    return torch.where(index == middle, offset, 0.0)


def f0_error(predicted: Tensor, target: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Compare the F0 of resynthesised waveforms (B, S) with that of the originals (B, S).

    Returns:
        Mean absolute error in semitones over frames voiced in both (nan if there is none), and the share of
        frames whose voicing differs.
    """
    semitones, voicing = f0_differences(predicted, target, sample_rate)
    return semitones.mean(), voicing.mean()


def f0_differences(
    predicted: Tensor, target: Tensor, sample_rate: int, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compare the F0 of resynthesised waveforms with that of the originals, frame by frame.

    Args:
        predicted: resynthesised waveforms (B, S), zero after their ends.
        target: original waveforms (B, S), zero after their ends.
        sample_rate: sample rate of both in Hz.
        lengths: number of samples (B,) of each pair to compare; None compares all samples.

    Returns:
        The absolute error in semitones of each frame that is voiced in both, and for every frame 1 if its voicing
        differs, else 0.
    """
    f0, voiced = yin_f0(predicted, sample_rate)
    reference, reference_voiced = yin_f0(target, sample_rate)
    inside = torch.ones_like(voiced)
    if lengths is not None:
        frames = lengths // round(sample_rate / FRAME_RATE)
        inside = torch.arange(voiced.shape[1], device=voiced.device) < frames[:, None]
    both = voiced & reference_voiced & inside
    return 12 * torch.log2(f0[both] / reference[both]).abs(), (voiced != reference_voiced)[inside].float()
