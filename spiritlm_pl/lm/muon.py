"""Muon for the matrices of layers and AdamW for all else, as one optimizer (Jordan et al., 2024; arXiv 2502.16982)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimizers which trainers, schedules and checkpoints see as one.

    The groups of Muon stand before those of AdamW, and both keep their states in this one's.

    Args:
        muon: optimizer of matrices.
        adamw: optimizer of all other parameters.
    """

    def __init__(self, muon: torch.optim.Muon, adamw: torch.optim.AdamW) -> None:
        """Take over the groups of both."""
        self.parts: tuple[torch.optim.Optimizer, ...] = ()
        groups = [*muon.param_groups, *adamw.param_groups]
        super().__init__(groups, adamw.defaults)
        self.parts, self.first = (muon, adamw), len(muon.param_groups)
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Put groups and states in the place of the present ones, also of both optimizers."""
        super().__setstate__(state)
        self._share()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs: both optimizers as well."""
        return super().__getstate__() | {"parts": self.parts, "first": self.first}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, which is AdamW's."""
        super().add_param_group(param_group)
        if self.parts:
            self._share()

    def _share(self) -> None:
        for part, groups in zip(
            self.parts, (self.param_groups[: self.first], self.param_groups[self.first :]), strict=True
        ):
            part.param_groups, part.state = groups, self.state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do a step of both, after the closure, whose loss is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss


def layer_matrices(network: nn.Module) -> list[nn.Parameter]:
    """Return the trainable matrices of a language model that are neither its embeddings nor its output layer's.

    What has two dimensions and is no `weight`, such as the biases of experts or the decay rates of states, is no matrix
    either. Experts that lie in one tensor of three dimensions are left to AdamW.
    """
    ends = [getattr(network, name)() for name in ("get_input_embeddings", "get_output_embeddings")]
    left_out = {id(module.weight) for module in ends if module is not None}
    left_out |= {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    named = [(name.rpartition(".")[2], weight) for name, weight in network.named_parameters() if weight.requires_grad]
    return [weight for name, weight in named if name == "weight" and weight.ndim == 2 and id(weight) not in left_out]


def has_muon(groups: Iterable[Mapping[str, Any]]) -> bool:
    """Whether one of an optimizer's groups is Muon's."""
    return any("ns_steps" in group for group in groups)


def build_muon(
    network: nn.Module, adamw: torch.optim.AdamW, lr: float, momentum: float, weight_decay: float
) -> MuonWithAdamW:
    """Give the matrices of layers to Muon, whose steps are scaled to the size of AdamW's.

    Args:
        network: language model of `transformers`.
        adamw: optimizer of all parameters, from whose groups the matrices are taken.
        lr: peak learning rate of the matrices.
        momentum: decay rate of the running mean of their gradients.
        weight_decay: weight decay of the matrices.

    Raises:
        ValueError: if the network has no such matrices.
    """
    matrices = layer_matrices(network)
    if not matrices:
        raise ValueError(f"optimizer.muon_lr must be null for a network without trained matrices, but is {lr} instead")
    taken = {id(matrix) for matrix in matrices}
    for group in adamw.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in taken]
    given: list[Tensor] = list(matrices)
    muon = torch.optim.Muon(given, lr=lr, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    return MuonWithAdamW(muon, adamw)
