"""Comparison of the F0 of a resynthesis with that of its original.

Shapes: S samples at 16 kHz, F frames, 200 a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spiritlm_pl.f0.frames import HOP_LENGTH, SAMPLE_RATE, F0Extractor
from spiritlm_pl.f0.measures import F0Errors, f0_errors

FRAME_RATE = SAMPLE_RATE / HOP_LENGTH
FEWEST_FRAMES = 20  # number of voiced frames that a mean or a correlation needs
STILL = 1e-6  # standard deviation of log F0 below which it counts as constant


@dataclass(frozen=True, eq=False)
class Contour:
    """F0 contour of one utterance.

    Attributes:
        hertz: (F,) F0 in Hz, interpolated linearly over unvoiced frames.
        voiced: (F,) booleans, True for voiced frames.
    """

    hertz: Tensor
    voiced: Tensor

    def first(self, frames: int) -> "Contour":
        """Return the beginning of the contour."""
        return Contour(self.hertz[:frames], self.voiced[:frames])

    def drawn(self) -> Tensor:
        """Return F0 in Hz (F,), nan where unvoiced."""
        return torch.where(self.voiced, self.hertz, torch.nan)

    def mean_log(self) -> float | None:
        """Return the mean log2 F0 over voiced frames, so that differences are octaves; None for fewer than 20."""
        if int(self.voiced.sum()) < FEWEST_FRAMES:
            return None
        return float(self.hertz[self.voiced].double().log2().mean())


def joined(contours: Sequence[Contour]) -> Contour:
    """Concatenate contours."""
    return Contour(*(torch.cat([getattr(one, name) for one in contours]) for name in ("hertz", "voiced")))


def extract_contour(extractor: F0Extractor, waveform: Tensor) -> Contour:
    """Extract the contour of a waveform (S,)."""
    f0, voiced = extractor(waveform[None], torch.tensor([len(waveform)], device=waveform.device))
    return Contour(f0[0].cpu(), voiced[0].cpu())


def contour_errors(made: Contour, original: Contour) -> F0Errors:
    """Measure errors of F0 over the frames of the shorter contour."""
    frames = min(len(made.hertz), len(original.hertz))
    inside = torch.ones(1, frames, dtype=torch.bool)
    made, original = made.first(frames), original.first(frames)
    return f0_errors(made.hertz[None], made.voiced[None], original.hertz[None], original.voiced[None], inside)


def log_f0_correlation(made: Contour, original: Contour) -> float | None:
    """Return Pearson's correlation of log F0 over frames voiced in both; None for fewer than 20 or constant F0."""
    frames = min(len(made.hertz), len(original.hertz))
    made, original = made.first(frames), original.first(frames)
    both = made.voiced & original.voiced
    if int(both.sum()) < FEWEST_FRAMES:
        return None
    logs = torch.stack([contour.hertz[both].double().log() for contour in (made, original)])
    if bool((logs.std(1) < STILL).any()):
        return None
    return float(torch.corrcoef(logs)[0, 1])
