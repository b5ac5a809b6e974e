"""The F0 contour that the pitch VQ-VAE reads (Spirit LM, arXiv 2402.05755, section 3.2).

Shapes: B batch, F frames.
"""

import torch
from torch import Tensor


def voiced_mean(f0: Tensor, voiced: Tensor) -> Tensor:
    """Mean F0 in Hz (B,) over the voiced frames of F0 (B, F) and voicing (B, F); 0 without any voice."""
    return torch.where(voiced, f0, 0.0).sum(1) / voiced.sum(1).clamp(min=1)


def contour(f0: Tensor, voiced: Tensor, mean: Tensor | None = None) -> Tensor:
    """What the VQ-VAE reads: F0 less its mean, and voicing.

    Args:
        f0: (B, F) in Hz, 0 throughout where there is no voice.
        voiced: (B, F).
        mean: (B,) of each speaker; None, or nan in a row, for the mean over the voiced frames.

    Returns:
        (B, 2, F); F0 of 0 stays 0.
    """
    own = voiced_mean(f0, voiced)
    mean = own if mean is None else torch.where(mean.isnan(), own, mean)
    return torch.stack([torch.where(f0 > 0, f0 - mean[:, None], 0.0), voiced.to(f0.dtype)], dim=1)
