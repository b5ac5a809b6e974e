"""F0 and voicing every 5 ms: the contract of F0 extractors, and frames of one rate from extractors of any.

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
BATCH_SECONDS = 200.0  # at once, on a GPU
PIECE, OVERLAP = 100 * SAMPLE_RATE, SAMPLE_RATE  # samples; half an hour at once takes 4 GB (FCPE) to 25 GB (YAAPT)


@runtime_checkable
class F0Extractor(Protocol):
    """Waveforms to F0 and voicing."""

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """F0 in Hz (B, F) and voicing (B, F), True = voiced, of waveforms (B, S) with lengths (B,).

        Over unvoiced frames F0 goes in a line from voice to voice; without any voice, and after the end of a
        waveform, it is 0.
        """
        ...


def num_frames(num_samples: int) -> int:
    """Frames of a waveform."""
    return num_samples // HOP_LENGTH + 1


def _filled(f0: Tensor) -> Tensor:
    """F0 (G,) with a line drawn over unvoiced frames (0), the ends held; all 0 stays so."""
    values, places = f0.detach().cpu().numpy(), np.arange(len(f0))
    voiced = values > 0
    return torch.from_numpy(np.interp(places, places[voiced], values[voiced])).to(f0) if voiced.any() else f0


def in_pieces(
    extract: Callable[[list[Tensor]], list[Tensor]], waveforms: list[Tensor], hop_length: int
) -> list[Tensor]:
    """F0 (G,) of waveforms (S,), long ones by pieces of 100 s with a second more on both sides."""
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
    """F0 and voicing (B, F) of waveforms (B, S).

    Every frame takes the nearest of the filled values, as in the release.

    Args:
        extract: F0 (G,) of waveforms (S,), 0 where unvoiced.
        waveforms: (B, S).
        lengths: (B,) samples.
        hop_length: of `extract`.
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
    """An extractor of several waveforms."""
    return lambda waveforms: [extract(waveform) for waveform in waveforms]
