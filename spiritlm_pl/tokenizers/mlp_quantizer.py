"""Quantizer of the published kind: an MLP with a blank, trained by CTC to be robust (Gat et al., 2023).

It learns to predict from augmented audio the deduplicated units that a teacher gives for clean audio. At inference each
frame takes its best class, and a blank is replaced by the unit on its left (Spirit LM, section 3.1).

Shapes: B batch, T frames, D feature dimension, K units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spiritlm_pl.contracts.speech_tokenizer import Units
from spiritlm_pl.runtime.onednn_linear import use_onednn


@dataclass(frozen=True, kw_only=True)
class MLPQuantizerConfig:
    """Sizes of an MLP quantizer.

    Args:
        num_units: number of units, K, without the blank, which is class K.
        feature_dim: size of a feature vector, D.
        hidden: widths of the two hidden layers.
        wrap: whether blanks before the first unit become the last unit, as in the published release, instead of the
            first.
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
    """Quantizer from frame features to units by a classifier with a blank."""

    config_class = MLPQuantizerConfig

    def __init__(self, config: MLPQuantizerConfig) -> None:
        """Build the network with random weights."""
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
        use_onednn(self)

    @property
    def num_units(self) -> int:
        """Number of units, without the blank."""
        return self.config.num_units

    @property
    def feature_dim(self) -> int:
        """Size of a feature vector, D."""
        return self.config.feature_dim

    @property
    def blank(self) -> int:
        """Class of the blank."""
        return self.config.num_units

    def logits(self, features: Tensor) -> Tensor:
        """Compute scores (B, T, K + 1) of features (B, T, D)."""
        scores: Tensor = self.layers(features)
        return scores

    @torch.no_grad()
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return units (B, T) of features (B, T, D) with numbers of frames (B,)."""
        scores = self.logits(features)
        best = scores.argmax(-1)
        for row, length in enumerate(lengths.tolist()):
            if length and bool((best[row, :length] == self.blank).all()):  # only blanks: take the likeliest unit
                best[row, :length] = scores[row, :length, : self.blank].mean(0).argmax()
        return fill_blanks(best, self.blank, lengths if self.config.wrap else None)


@dataclass(frozen=True, kw_only=True)
class LinearQuantizerConfig:
    """Sizes of a linear quantizer.

    Args:
        num_units: number of units, K.
        feature_dim: size of a feature vector, D.
    """

    num_units: int = 100
    feature_dim: int = 256


class LinearQuantizer(nn.Module):
    """Quantizer that takes the best class of one linear layer, as at the end of the published style encoder."""

    config_class = LinearQuantizerConfig

    def __init__(self, config: LinearQuantizerConfig) -> None:
        """Build the layer with random weights."""
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.feature_dim, config.num_units)

    @property
    def num_units(self) -> int:
        """Number of units, K."""
        return self.config.num_units

    @property
    def feature_dim(self) -> int:
        """Size of a feature vector, D."""
        return self.config.feature_dim

    @torch.no_grad()
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return units (B, T) of features (B, T, D)."""
        units: Tensor = self.layer(features).argmax(-1)
        return units


def fill_blanks(classes: Tensor, blank: int, wrapped: Tensor | None = None) -> Tensor:
    """Replace each blank by the unit on its left.

    Args:
        classes: classes of frames (B, T).
        blank: class of the blank.
        wrapped: number of frames (B,), to let blanks before the first unit become the last unit of the row, as if
            frames went round in a circle; None lets them become the first unit.
    """
    if classes.shape[1] == 0:
        return classes
    position = torch.arange(classes.shape[1], device=classes.device).expand_as(classes)
    spoken = classes != blank
    if wrapped is None:
        before = spoken.int().argmax(1, keepdim=True)  # argmax takes the first of equal values; 0 without any unit
    else:
        inside = position < wrapped.to(classes.device)[:, None]
        before = torch.where(spoken & inside, position, 0).amax(1, keepdim=True)
    left = torch.where(spoken, position, -1).cummax(1).values
    filled = classes.gather(1, torch.where(left < 0, before.expand_as(left), left))
    return filled.clamp(max=blank - 1)


def ctc_loss(network: MLPQuantizer, features: Tensor, lengths: Tensor, targets: list[Units]) -> Tensor:
    """Compute the CTC loss per target unit of features (B, T, D) with numbers of frames (B,).

    Args:
        network: quantizer that is trained.
        features: frame features (B, T, D).
        lengths: number of frames (B,).
        targets: deduplicated units of each utterance.
    """
    scores = network.logits(features).float()
    log_probs = functional.log_softmax(scores, -1).transpose(0, 1)  # (T, B, K + 1)
    counts = torch.tensor([len(units.values) for units in targets])
    values = torch.cat([units.values for units in targets]).to(features.device)
    return functional.ctc_loss(
        log_probs, values, lengths.cpu(), counts, blank=network.blank, reduction="sum", zero_infinity=True
    ) / counts.sum().clamp(min=1)
