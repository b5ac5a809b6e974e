"""How far an F0 contour is from another: RMSE in Hz and cents, voicing error, F0 frame error.

An F0 frame is wrong if its voicing is, or if F0 is more than 20 % off (Chu and Alwan, 2009).

Shapes: B batch, F frames.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

GROSS = 0.2
LOWEST = 20.0  # Hz; below, cents would explode


@dataclass(frozen=True)
class F0Errors:
    """Sums that add up over batches and ranks."""

    squared_hertz: Tensor
    squared_cents: Tensor
    both_voiced: Tensor
    gross: Tensor
    voicing: Tensor
    frames: Tensor

    def sums(self) -> Tensor:
        """(6,) float64."""
        return torch.stack([getattr(self, field.name).double() for field in fields(self)])

    @classmethod
    def from_sums(cls, sums: Tensor) -> "F0Errors":
        """Of `sums`."""
        return cls(*sums)

    def figures(self) -> dict[str, float]:
        """RMSE over frames voiced in both, and shares of all frames; empty where there are no frames."""
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
    """Compare F0 in Hz and voicing, all (B, F), over the frames that lie `inside`."""
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
