"""Losses of preference tuning: DPO (arXiv 2305.18290) and SimPO (arXiv 2405.14734).

Shapes: P pairs.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from spiritlm_pl.contracts.preference_loss import Likelihoods, Preference


def _check(name: str, value: float, low: float, high: float, low_counts: bool) -> None:
    if not ((low <= value if low_counts else low < value) and value < high):
        within = f"{'[' if low_counts else '('}{low:g}, {high:g})"
        raise ValueError(f"{name} must be in {within}, but is {value} instead")


class DPO:
    """Direct preference optimisation: rewards are log-ratios to the reference model, times beta.

    Args:
        beta: factor of the rewards; small values let the model go far from the reference.
        label_smoothing: share of pairs that may have been labelled the wrong way round (conservative DPO); 0 trusts
            all.
        likelihood_weight: weight of the mean loss per token of what is chosen, which keeps it likely (RPO, arXiv
            2404.19733); 0 leaves it out.

    Raises:
        ValueError: if a value is out of range.
    """

    needs_reference = True

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0, likelihood_weight: float = 0.0) -> None:
        """Check the ranges."""
        _check("beta", beta, 0, math.inf, low_counts=False)
        _check("label_smoothing", label_smoothing, 0, 0.5, low_counts=True)
        _check("likelihood_weight", likelihood_weight, 0, math.inf, low_counts=True)
        self.beta, self.label_smoothing, self.likelihood_weight = beta, label_smoothing, likelihood_weight

    def __call__(self, chosen: Likelihoods, rejected: Likelihoods) -> Preference:
        """Compute losses and rewards; see `spiritlm_pl.contracts.preference_loss.PreferenceLoss`."""
        rewards = [self.beta * (one.sums - _reference(one)) for one in (chosen, rejected)]
        margin = rewards[0] - rewards[1]
        losses = -(1 - self.label_smoothing) * F.logsigmoid(margin) - self.label_smoothing * F.logsigmoid(-margin)
        if self.likelihood_weight:
            losses = losses - self.likelihood_weight * chosen.sums / chosen.tokens
        return Preference(losses, rewards[0], rewards[1])


class SimPO:
    """Simple preference optimisation: rewards are mean log-likelihoods per token, times beta; no reference model.

    Args:
        beta: factor of the rewards; the paper takes 2 to 10.
        gamma: margin between the rewards that a pair should have; the paper takes about half of beta.

    Raises:
        ValueError: if a value is out of range.
    """

    needs_reference = False

    def __init__(self, beta: float = 2.0, gamma: float = 1.0) -> None:
        """Check the ranges."""
        _check("beta", beta, 0, math.inf, low_counts=False)
        _check("gamma", gamma, 0, math.inf, low_counts=True)
        self.beta, self.gamma = beta, gamma

    def __call__(self, chosen: Likelihoods, rejected: Likelihoods) -> Preference:
        """Compute losses and rewards; see `spiritlm_pl.contracts.preference_loss.PreferenceLoss`."""
        rewards = [self.beta * one.sums / one.tokens for one in (chosen, rejected)]
        return Preference(-F.logsigmoid(rewards[0] - rewards[1] - self.gamma), rewards[0], rewards[1])


class Distance:
    """Mean distance of a model from the reference in nats a token, as loss and as both rewards; nothing to learn."""

    needs_reference = True

    def __call__(self, chosen: Likelihoods, rejected: Likelihoods) -> Preference:
        """Compute the distances; see `spiritlm_pl.contracts.preference_loss.PreferenceLoss`."""
        far = sum((one.sums - _reference(one)).abs() for one in (chosen, rejected))
        assert isinstance(far, Tensor)
        far = far / (chosen.tokens + rejected.tokens)
        return Preference(far, far, far)


def _reference(one: Likelihoods) -> Tensor:
    assert one.reference is not None
    return one.reference
