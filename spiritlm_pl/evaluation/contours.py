"""The F0 of a resynthesis beside that of its original.

Shapes: S samples at 16 kHz, F frames, 200 a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spiritlm_pl.f0.frames import HOP_LENGTH, SAMPLE_RATE, F0Extractor
from spiritlm_pl.f0.measures import F0Errors, f0_errors

FRAME_RATE = SAMPLE_RATE / HOP_LENGTH
FEWEST_FRAMES = 20  # voiced ones, that a mean or a correlation needs
STILL = 1e-6  # deviation of log F0 that is none


@dataclass(frozen=True, eq=False)
class Contour:
    """F0 of one utterance.

    Attributes:
        hertz: (F,) with lines drawn over what is unvoiced.
        voiced: (F,).
    """

    hertz: Tensor
    voiced: Tensor

    def first(self, frames: int) -> "Contour":
        """Its beginning."""
        return Contour(self.hertz[:frames], self.voiced[:frames])

    def drawn(self) -> Tensor:
        """F0 (F,), nan where unvoiced."""
        return torch.where(self.voiced, self.hertz, torch.nan)

    def mean_log(self) -> float | None:
        """Mean log2 F0 over voiced frames, so that differences are octaves; None where there are fewer than 20."""
        if int(self.voiced.sum()) < FEWEST_FRAMES:
            return None
        return float(self.hertz[self.voiced].double().log2().mean())


def joined(contours: Sequence[Contour]) -> Contour:
    """One behind the other."""
    return Contour(*(torch.cat([getattr(one, name) for one in contours]) for name in ("hertz", "voiced")))


def extract_contour(extractor: F0Extractor, waveform: Tensor) -> Contour:
    """The contour of a waveform (S,)."""
    f0, voiced = extractor(waveform[None], torch.tensor([len(waveform)], device=waveform.device))
    return Contour(f0[0].cpu(), voiced[0].cpu())


def contour_errors(made: Contour, original: Contour) -> F0Errors:
    """Errors over the frames of the shorter one."""
    frames = min(len(made.hertz), len(original.hertz))
    inside = torch.ones(1, frames, dtype=torch.bool)
    made, original = made.first(frames), original.first(frames)
    return f0_errors(made.hertz[None], made.voiced[None], original.hertz[None], original.voiced[None], inside)


def log_f0_correlation(made: Contour, original: Contour) -> float | None:
    """Pearson's, of log F0 over frames voiced in both; None for fewer than 20, or where F0 does not move."""
    frames = min(len(made.hertz), len(original.hertz))
    made, original = made.first(frames), original.first(frames)
    both = made.voiced & original.voiced
    if int(both.sum()) < FEWEST_FRAMES:
        return None
    logs = torch.stack([contour.hertz[both].double().log() for contour in (made, original)])
    if bool((logs.std(1) < STILL).any()):
        return None
    return float(torch.corrcoef(logs)[0, 1])
