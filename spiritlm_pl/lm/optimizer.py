"""AdamW with weight decay on matrices only, and Muon for the matrices of layers where this is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from spiritlm_pl.lm.muon import build_muon, has_muon
from spiritlm_pl.runtime.older_names import look_up_older_names


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Settings of the language model's optimizer: AdamW, and Muon where it has a learning rate.

    The learning rate is Spirit LM's. The paper does not state the other values; they are those of Llama-like models.

    Args:
        lr: peak learning rate, before the schedule's factor.
        beta1: decay rate of the running mean of gradients.
        beta2: decay rate of the running mean of squared gradients.
        eps: number that is added to the denominator of a step, against division by zero.
        weight_decay: weight decay of matrices and embeddings; biases, norms and other vectors have none.
        muon_lr: peak learning rate of the matrices of layers under Muon, scaled so that a step is as large as AdamW's
            with the same rate; None trains them by AdamW, too.
        muon_momentum: decay rate of Muon's running mean of gradients.
    """

    lr: float = 3.0e-5
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    muon_lr: float | None = None
    muon_momentum: float = 0.95

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, low, high in (
            ("lr", 0, float("inf")),
            ("beta1", 0, 1),
            ("beta2", 0, 1),
            ("eps", 0, 1),
            ("weight_decay", 0, 1),
            ("muon_lr", 0, float("inf")),
            ("muon_momentum", 0, 1),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value < high:
                raise ValueError(f"{name} must be in [{low}, {high}), but is {value} instead")


def dimensions(parameter: nn.Parameter) -> int:
    """Return the number of dimensions of a parameter, also of one that ZeRO-3 has sharded to a flat piece."""
    return len(getattr(parameter, "ds_shape", parameter.shape))


def decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Split parameters into two optimizer groups: those of two or more dimensions, which decay, and the others.

    Args:
        network: network whose trainable parameters are grouped; shared ones are listed once.
        weight_decay: weight decay of the first group.

    Returns:
        The groups that are not empty.
    """
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trainable if dimensions(parameter) >= 2]
    others = [parameter for parameter in trainable if dimensions(parameter) < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def build_adamw(network: nn.Module, settings: OptimizerSettings, fused: bool = True) -> torch.optim.AdamW:
    """Build AdamW over the groups of `decay_groups`.

    Args:
        network: network that is trained.
        settings: learning rate and the other values.
        fused: whether to use torch's one-kernel step, which works on CUDA and CPU (and for states that ZeRO-3
            offloads).
    """
    groups = decay_groups(network, settings.weight_decay)
    return torch.optim.AdamW(
        groups, lr=settings.lr, betas=(settings.beta1, settings.beta2), eps=settings.eps, fused=fused
    )


def build_optimizer(network: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Build AdamW, with Muon for the matrices of layers if the settings have a learning rate for it.

    Args:
        network: language model that is trained.
        settings: learning rates and the other values.
    """
    adamw = build_adamw(network, settings)
    if settings.muon_lr is None:
        return adamw
    return build_muon(network, adamw, settings.muon_lr, settings.muon_momentum, settings.weight_decay)


def check_same_optimizer(checkpoint: Mapping[str, Any], settings: OptimizerSettings) -> None:
    """Refuse a checkpoint whose matrices were trained by the other one of both optimizers.

    Args:
        checkpoint: checkpoint of a trainer; one of a sharding strategy, which keeps its states elsewhere, passes.
        settings: settings of the run that is to go on.

    Raises:
        ValueError: if one run has Muon and the other has not.
    """
    groups = [group for state in checkpoint.get("optimizer_states", []) for group in state.get("param_groups", [])]
    if groups and has_muon(groups) != (settings.muon_lr is not None):
        now = "null" if settings.muon_lr is None else settings.muon_lr
        was = "a rate, as matrices were trained by Muon" if has_muon(groups) else "null, as AdamW trained all weights"
        raise ValueError(f"optimizer.muon_lr must be {was} in the run of the checkpoint, but is {now} instead")


look_up_older_names(__name__)
