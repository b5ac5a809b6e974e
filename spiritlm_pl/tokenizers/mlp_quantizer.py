"""The published kind of quantizer: an MLP with a blank, trained by CTC to be robust (Gat et al., 2023).

It learns to read off augmented audio the deduplicated units that a teacher reads off clean audio. At
inference each frame takes its best class, and a blank takes the unit on its left (Spirit LM, section 3.1).

Shapes: B batch, T frames, D feature dimension, K units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spiritlm_pl.contracts.speech_tokenizer import Units


@dataclass(frozen=True, kw_only=True)
class MLPQuantizerConfig:
    """Size of the network.

    Args:
        num_units: K, without the blank, which is class K.
        feature_dim: D.
        hidden: sizes of the two hidden layers.
        wrap: blanks before the first unit take the last unit, as in the release, instead of the first one.
    """

    num_units: int = 500
    feature_dim: int = 768
    hidden: tuple[int, int] = (512, 512)
    wrap: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.num_units < 1 or self.feature_dim < 1:
            raise ValueError(
                f"num_units and feature_dim must be at least 1, but are {self.num_units} and {self.feature_dim} instead"
            )


class MLPQuantizer(nn.Module):
    """Frame features to units through a classifier with a blank."""

    config_class = MLPQuantizerConfig

    def __init__(self, config: MLPQuantizerConfig) -> None:
        """Random weights."""
        super().__init__()
        self.config = config
        first, second = config.hidden
        self.layers = nn.Sequential(
            nn.Linear(config.feature_dim, first),
            nn.LeakyReLU(),
            nn.Linear(first, second),
            nn.LeakyReLU(),
            nn.Linear(second, config.num_units + 1),
        )

    @property
    def num_units(self) -> int:
        """Number of units."""
        return self.config.num_units

    @property
    def feature_dim(self) -> int:
        """Size of a feature vector."""
        return self.config.feature_dim

    @property
    def blank(self) -> int:
        """Class of the blank."""
        return self.config.num_units

    def logits(self, features: Tensor) -> Tensor:
        """Scores (B, T, K + 1) of features (B, T, D)."""
        scores: Tensor = self.layers(features)
        return scores

    @torch.no_grad()
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Units (B, T) of features (B, T, D) with lengths (B,)."""
        scores = self.logits(features)
        best = scores.argmax(-1)
        for row, length in enumerate(lengths.tolist()):
            if length and bool((best[row, :length] == self.blank).all()):  # no unit: the likeliest
                best[row, :length] = scores[row, :length, : self.blank].mean(0).argmax()
        return fill_blanks(best, self.blank, lengths if self.config.wrap else None)


@dataclass(frozen=True, kw_only=True)
class LinearQuantizerConfig:
    """Size of the layer.

    Args:
        num_units: K.
        feature_dim: D.
    """

    num_units: int = 100
    feature_dim: int = 256


class LinearQuantizer(nn.Module):
    """Frame features to the best class of one linear layer, as the release's style encoder ends."""

    config_class = LinearQuantizerConfig

    def __init__(self, config: LinearQuantizerConfig) -> None:
        """Random weights."""
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.feature_dim, config.num_units)

    @property
    def num_units(self) -> int:
        """K."""
        return self.config.num_units

    @property
    def feature_dim(self) -> int:
        """D."""
        return self.config.feature_dim

    @torch.no_grad()
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Units (B, T) of features (B, T, D)."""
        units: Tensor = self.layer(features).argmax(-1)
        return units


def fill_blanks(classes: Tensor, blank: int, wrapped: Tensor | None = None) -> Tensor:
    """Replace each blank of (B, T) by the unit on its left.

    Args:
        classes: (B, T).
        blank: class of the blank.
        wrapped: lengths (B,) whose last unit is on the left of the first frame; None to let blanks before the first
            unit take that one.
    """
    if classes.shape[1] == 0:
        return classes
    position = torch.arange(classes.shape[1], device=classes.device).expand_as(classes)
    spoken = classes != blank
    if wrapped is None:
        before = spoken.int().argmax(1, keepdim=True)  # of equal values the first; 0 where there is none
    else:
        inside = position < wrapped.to(classes.device)[:, None]
        before = torch.where(spoken & inside, position, 0).amax(1, keepdim=True)
    left = torch.where(spoken, position, -1).cummax(1).values
    filled = classes.gather(1, torch.where(left < 0, before.expand_as(left), left))
    return filled.clamp(max=blank - 1)


def ctc_loss(network: MLPQuantizer, features: Tensor, lengths: Tensor, targets: list[Units]) -> Tensor:
    """CTC loss a target unit of features (B, T, D) with lengths (B,), against deduplicated units."""
    scores = network.logits(features).float()
    log_probs = functional.log_softmax(scores, -1).transpose(0, 1)  # (T, B, K + 1)
    counts = torch.tensor([len(units.values) for units in targets])
    values = torch.cat([units.values for units in targets]).to(features.device)
    return functional.ctc_loss(
        log_probs, values, lengths.cpu(), counts, blank=network.blank, reduction="sum", zero_infinity=True
    ) / counts.sum().clamp(min=1)
