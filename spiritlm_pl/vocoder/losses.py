"""Adversarial losses: least-squares GAN (Mao et al., 2017) and feature matching (Larsen et al., 2016).

All take a list with one output of a discriminator for each of its periods, scales or resolutions: scores of any shape,
and the activations of the layers.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from spiritlm_pl.runtime.older_names import look_up_older_names


@dataclass(frozen=True)
class DiscriminatorOutput:
    """Output of a discriminator for one batch at one period, scale or resolution.

    Attributes:
        scores: scores of any shape with the batch in front, 1 for real and 0 for made waveforms.
        features: activations of the layers.
    """

    scores: Tensor
    features: list[Tensor]


def discriminator_loss(real: list[DiscriminatorOutput], made: list[DiscriminatorOutput]) -> Tensor:
    """Return the sum over discriminators' outputs of (1 - D(real))^2 + D(made)^2."""
    return torch.stack(
        [
            (1 - r.scores.float()).square().mean() + m.scores.float().square().mean()
            for r, m in zip(real, made, strict=True)
        ]
    ).sum()


def adversarial_loss(made: list[DiscriminatorOutput]) -> Tensor:
    """Return the sum over discriminators' outputs of (1 - D(made))^2."""
    return torch.stack([(1 - m.scores.float()).square().mean() for m in made]).sum()


def feature_matching_loss(real: list[DiscriminatorOutput], made: list[DiscriminatorOutput]) -> Tensor:
    """Return the sum over outputs and layers of the mean absolute difference; `real` takes no gradient."""
    return torch.stack(
        [
            F.l1_loss(b.float(), a.detach().float())
            for r, m in zip(real, made, strict=True)
            for a, b in zip(r.features, m.features, strict=True)
        ]
    ).sum()


look_up_older_names(__name__)
