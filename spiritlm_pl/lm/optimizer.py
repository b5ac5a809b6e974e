"""AdamW with weight decay on matrices only."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class AdamWSettings:
    """Optimizer of the language model.

    The learning rate is Spirit LM's; it does not state the rest, which is what Llama-like models use.

    Args:
        lr: peak learning rate.
        beta1: decay of the mean of the gradients.
        beta2: decay of the mean of their squares.
        eps: added to the denominator.
        weight_decay: of matrices and embeddings; biases, norms and other vectors have none.
    """

    lr: float = 3.0e-5
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, low, high in (
            ("lr", 0, float("inf")),
            ("beta1", 0, 1),
            ("beta2", 0, 1),
            ("eps", 0, 1),
            ("weight_decay", 0, 1),
        ):
            value = getattr(self, name)
            if not low <= value < high:
                raise ValueError(f"{name} must be in [{low}, {high}), but is {value} instead")


def dimensions(parameter: nn.Parameter) -> int:
    """Number of dimensions of a parameter, also of one that ZeRO-3 has sharded to a flat piece."""
    return len(getattr(parameter, "ds_shape", parameter.shape))


def decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two optimizer groups: parameters of two or more dimensions, which decay, and the others.

    Args:
        network: whose trainable parameters are grouped; shared ones once.
        weight_decay: of the first group.
    """
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trainable if dimensions(parameter) >= 2]
    others = [parameter for parameter in trainable if dimensions(parameter) < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def build_adamw(network: nn.Module, settings: AdamWSettings, fused: bool = True) -> torch.optim.AdamW:
    """AdamW over decay groups.

    Args:
        network: what is trained.
        settings: learning rate and the rest.
        fused: torch's one-kernel step, which serves CUDA and CPU (and states that ZeRO-3 offloads).
    """
    groups = decay_groups(network, settings.weight_decay)
    return torch.optim.AdamW(
        groups, lr=settings.lr, betas=(settings.beta1, settings.beta2), eps=settings.eps, fused=fused
    )
