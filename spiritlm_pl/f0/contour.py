"""The F0 contour that the pitch VQ-VAE reads (Spirit LM, arXiv 2402.05755, section 3.2).

Shapes: B batch, F frames.
"""

import torch
from torch import Tensor


def voiced_mean(f0: Tensor, voiced: Tensor) -> Tensor:
    """Return the mean F0 in Hz (B,) over the voiced frames.

    Args:
        f0: F0 contours in Hz (B, F).
        voiced: mask of voiced frames (B, F).

    Returns:
        The means (B,); 0 for a row without voiced frames.
    """
    return torch.where(voiced, f0, 0.0).sum(1) / voiced.sum(1).clamp(min=1)


def contour(f0: Tensor, voiced: Tensor, mean: Tensor | None = None) -> Tensor:
    """Build the input of the pitch VQ-VAE: F0 minus a mean, and voicing.

    Args:
        f0: F0 contours in Hz (B, F); a row without voiced frames is 0 throughout.
        voiced: mask of voiced frames (B, F).
        mean: mean F0 of each row's speaker in Hz (B,). None, or nan in a row, takes the mean over the row's own voiced
            frames instead.

    Returns:
        The normalised F0 and the voicing as two channels (B, 2, F); frames whose F0 is 0 keep 0.
    """
    own = voiced_mean(f0, voiced)
    mean = own if mean is None else torch.where(mean.isnan(), own, mean)
    return torch.stack([torch.where(f0 > 0, f0 - mean[:, None], 0.0), voiced.to(f0.dtype)], dim=1)
