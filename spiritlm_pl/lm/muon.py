"""Muon for the matrices of layers and AdamW for all else, as one optimizer (Jordan et al., 2024; arXiv 2502.16982)."""

from collections.abc import Callable
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
        super().__init__(groups, {})
        self.parts, self.first = (muon, adamw), len(muon.param_groups)
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Put groups and states in the place of the present ones, also of both optimizers."""
        super().__setstate__(state)
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
    """Return the trainable matrices of a language model that are neither its embeddings nor its output layer's."""
    ends = [getattr(network, name)() for name in ("get_input_embeddings", "get_output_embeddings")]
    left_out = {id(module.weight) for module in ends if module is not None}
    left_out |= {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [parameter for parameter in trainable if parameter.ndim == 2 and id(parameter) not in left_out]


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
        ValueError: if torch has no Muon yet.
    """
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(
            f"muon_lr must be left out with torch before 2.9, but is {lr} instead with {torch.__version__}"
        )
    matrices = layer_matrices(network)
    taken = {id(matrix) for matrix in matrices}
    for group in adamw.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in taken]
    given: list[Tensor] = list(matrices)
    muon = torch.optim.Muon(given, lr=lr, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    return MuonWithAdamW(muon, adamw)
