"""Contract of preference losses: from log-likelihoods of pairs to the number that preference tuning minimises.

Shapes: P pairs.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class Likelihoods:
    """Log-likelihoods of what follows the prompts, all chosen or all rejected.

    Attributes:
        sums: (P,) log-likelihoods in nats.
        tokens: (P,) number of tokens that each is the sum of.
        reference: (P,) log-likelihoods under the reference model in nats; None for a loss that needs none.
    """

    sums: Tensor
    tokens: Tensor
    reference: Tensor | None


@dataclass(frozen=True)
class Preference:
    """Losses and rewards of pairs.

    Attributes:
        losses: (P,) losses, differentiable.
        chosen: (P,) rewards of what is chosen.
        rejected: (P,) rewards of what is rejected.
    """

    losses: Tensor
    chosen: Tensor
    rejected: Tensor


@runtime_checkable
class PreferenceLoss(Protocol):
    """Computes the losses that preference tuning minimises.

    Attributes:
        needs_reference: whether log-likelihoods under the reference model are needed.
    """

    needs_reference: bool

    def __call__(self, chosen: Likelihoods, rejected: Likelihoods) -> Preference:
        """Compute losses and rewards.

        Args:
            chosen: log-likelihoods of what is chosen.
            rejected: log-likelihoods of what is rejected, in the same order.
        """
        ...
