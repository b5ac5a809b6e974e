"""Contract of F0 extractors, and the conversion of any extractor's frames to the common rate of one every 5 ms.

Shapes: B batch, S samples at 16 kHz, F = S // 80 + 1 frames, G frames at an extractor's own rate.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.nn.utils.rnn import pad_sequence

SAMPLE_RATE = 16_000
HOP_LENGTH = 80
F0_MIN, F0_MAX = 50.0, 1100.0  # Hz
BATCH_SECONDS = 200.0  # audio that is computed at once on a GPU
PIECE, OVERLAP = 100 * SAMPLE_RATE, SAMPLE_RATE  # samples; half an hour in one piece takes 4 GB (FCPE) to 25 GB (YAAPT)


@runtime_checkable
class F0Extractor(Protocol):
    """A callable from waveforms to F0 and voicing."""

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Extract F0 and voicing.

        Args:
            waveforms: batch of waveforms (B, S) at 16 kHz, padded at the end.
            lengths: number of samples (B,) of each waveform without its padding.

        Returns:
            F0 in Hz (B, F) and the mask of voiced frames (B, F). Over unvoiced frames, F0 is interpolated linearly
            between voiced ones. It is 0 in a row without voiced frames, and after the end of a waveform.
        """
        ...


def num_frames(num_samples: int) -> int:
    """Return the number of frames of a waveform of `num_samples` samples."""
    return num_samples // HOP_LENGTH + 1


def _filled(f0: Tensor) -> Tensor:
    """Interpolate F0 (G,) linearly over unvoiced frames (0), holding the ends; a contour of zeros stays as it is."""
    values, places = f0.detach().cpu().numpy(), np.arange(len(f0))
    voiced = values > 0
    return torch.from_numpy(np.interp(places, places[voiced], values[voiced])).to(f0) if voiced.any() else f0


def in_pieces(
    extract: Callable[[list[Tensor]], list[Tensor]], waveforms: list[Tensor], hop_length: int
) -> list[Tensor]:
    """Extract F0 from waveforms of any length, cutting long ones into pieces of 100 s to bound the memory.

    Each piece is computed with one more second on both sides, which is then dropped.

    Args:
        extract: function from several waveforms (S,) to their F0 in Hz (G,).
        waveforms: waveforms (S,) at 16 kHz.
        hop_length: samples between two frames of `extract`.

    Returns:
        F0 in Hz (G,) for each waveform.
    """
    places = [(row, start) for row, wave in enumerate(waveforms) for start in range(0, max(len(wave), 1), PIECE)]
    pieces = [waveforms[row][max(start - OVERLAP, 0) : start + PIECE + OVERLAP] for row, start in places]
    found: list[list[Tensor]] = [[] for _ in waveforms]
    for (row, start), f0 in zip(places, extract(pieces), strict=True):
        first = min(start, OVERLAP) // hop_length
        last = first + PIECE // hop_length if start + PIECE < len(waveforms[row]) else len(f0)
        found[row].append(f0[first:last])
    return [torch.cat(parts) for parts in found]


def at_frames(
    extract: Callable[[list[Tensor]], list[Tensor]], waveforms: Tensor, lengths: Tensor, hop_length: int = HOP_LENGTH
) -> tuple[Tensor, Tensor]:
    """Extract F0 and voicing (B, F) at the common frame rate with a function of any frame rate.

    Every frame takes the nearest of the function's frames, after interpolation over unvoiced ones, as in the published
    Spirit LM.

    Args:
        extract: function from several waveforms (S,) to their F0 in Hz (G,), 0 where unvoiced.
        waveforms: waveforms (B, S) at 16 kHz, padded at the end.
        lengths: number of samples (B,) of each waveform without its padding.
        hop_length: samples between two frames of `extract`.
    """
    rows = [waveform[:length] for waveform, length in zip(waveforms, lengths.tolist(), strict=True)]
    found = []
    for row, waveform in zip(in_pieces(extract, rows, hop_length), rows, strict=True):
        row = torch.where(row < F0_MIN, 0.0, row.clamp(max=F0_MAX))
        both = torch.stack([_filled(row), (row > 0).to(row.dtype)])[None]
        found.append(interpolate(both, size=num_frames(len(waveform)), mode="nearest")[0].T)
    padded = pad_sequence(found, batch_first=True)  # (B, F, 2)
    return padded[..., 0], padded[..., 1] > 0


def one_by_one(extract: Callable[[Tensor], Tensor]) -> Callable[[list[Tensor]], list[Tensor]]:
    """Turn a function that extracts F0 from one waveform into one that takes a list of waveforms."""
    return lambda waveforms: [extract(waveform) for waveform in waveforms]
