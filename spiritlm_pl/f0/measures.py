"""Distance between two F0 contours: RMSE in Hz and cents, voicing error, and F0 frame error.

F0 frame error counts a frame as wrong if its voicing is wrong, or its F0 is more than 20 % off (Chu and Alwan, 2009).

Shapes: B batch, F frames.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

GROSS = 0.2  # share of the original F0; an error above it is a gross one
LOWEST = 20.0  # Hz; lower F0 is raised to it, since cents grow without bound towards 0 Hz


@dataclass(frozen=True)
class F0Errors:
    """Sums of F0 errors over frames, which can be added over batches and ranks.

    Attributes:
        squared_hertz: sum of squared errors in Hz over frames voiced in both contours.
        squared_cents: sum of squared errors in cents over the same frames.
        both_voiced: number of frames voiced in both contours.
        gross: number of those frames whose F0 is more than 20 % off.
        voicing: number of frames whose voicing differs.
        frames: number of all frames compared.
    """

    squared_hertz: Tensor
    squared_cents: Tensor
    both_voiced: Tensor
    gross: Tensor
    voicing: Tensor
    frames: Tensor

    def sums(self) -> Tensor:
        """Return the sums as one tensor (6,) of float64."""
        return torch.stack([getattr(self, field.name).double() for field in fields(self)])

    @classmethod
    def from_sums(cls, sums: Tensor) -> "F0Errors":
        """Make the errors from a tensor (6,) in the order of `sums`."""
        return cls(*sums)

    def figures(self) -> dict[str, float]:
        """Return RMSE over frames voiced in both, and error shares of all frames; empty if there are no frames."""
        if not float(self.frames):
            return {}
        figures = {
            "voicing_error": float(self.voicing / self.frames),
            "f0_frame_error": float((self.voicing + self.gross) / self.frames),
        }
        if float(self.both_voiced):
            figures["f0_rmse_hertz"] = float((self.squared_hertz / self.both_voiced).sqrt())
            figures["f0_rmse_cents"] = float((self.squared_cents / self.both_voiced).sqrt())
        return figures


def f0_errors(made: Tensor, made_voiced: Tensor, original: Tensor, voiced: Tensor, inside: Tensor) -> F0Errors:
    """Compare two F0 contours frame by frame.

    Args:
        made: F0 in Hz (B, F) to measure, such as that of a resynthesis.
        made_voiced: voicing (B, F) of `made`.
        original: F0 in Hz (B, F) that is taken as true.
        voiced: voicing (B, F) of `original`.
        inside: mask (B, F) of the frames to compare.
    """
    both = inside & voiced & made_voiced
    hertz = (made - original)[both].double()
    cents = 1200 * torch.log2(made[both].double().clamp(min=LOWEST) / original[both].double().clamp(min=LOWEST))
    return F0Errors(
        squared_hertz=hertz.square().sum(),
        squared_cents=cents.square().sum(),
        both_voiced=both.sum(),
        gross=(hertz.abs() > GROSS * original[both].double()).sum(),
        voicing=(inside & (voiced != made_voiced)).sum(),
        frames=inside.sum(),
    )
