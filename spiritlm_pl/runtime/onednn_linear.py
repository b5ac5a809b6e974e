"""Linear layers in float32 on a CPU by oneDNN, forwards and backwards.

torch gives products in float32 to MKL, which reaches half of what oneDNN in the same build does on processors of AMD:
107 beside 216 to 240 GFLOP/s on one core (Zen 5) for 600 rows and layers of 128 to 512.

Shapes: B rows, D input size, O output size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from spiritlm_pl.runtime.packed_linear import has_products


class OneDNNLinear(nn.Linear):
    """Linear layer that oneDNN computes where it is in float32 on a CPU, and torch elsewhere."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., D) to (..., O)."""
        plain = input.device.type == "cpu" and input.dtype == self.weight.dtype == torch.float32
        plain = plain and type(self.weight) in (Tensor, nn.Parameter)  # no weights that are divided or quantized
        if not plain or torch.is_autocast_enabled("cpu") or input.dim() < 2 or not input.numel():
            return super().forward(input)
        found: Tensor = _Product.apply(input.flatten(0, -2), self.weight, self.bias)
        return found.unflatten(0, input.shape[:-1])


def use_onednn(network: nn.Module) -> None:
    """Let oneDNN compute the linear layers of a network, if torch as it was built has its products.

    Names and weights of the layers stay as they are.
    """
    for module in _linear_layers(network):
        module.__class__ = OneDNNLinear


@contextmanager
def onednn_products(network: nn.Module) -> Iterator[None]:
    """Let oneDNN compute the linear layers of a network for as long as the context lasts; they must not be replaced."""
    layers = _linear_layers(network)
    for module in layers:
        module.__class__ = OneDNNLinear
    try:
        yield
    finally:
        for module in layers:
            module.__class__ = nn.Linear


def _linear_layers(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if type(module) is nn.Linear] if _has_products() else []


@cache
def _has_products() -> bool:
    return has_products(torch.float32)


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute rows (B, D) times the transpose of a weight (O, D), plus a bias (O,)."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return found


class _Product(torch.autograd.Function):
    """Product of rows (B, D) and a weight (O, D)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _product(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph: the next gradient would lack this part without a word
            raise RuntimeError("gradients of gradients are not defined here: leave create_graph at False")
        wanted_rows, wanted_weight, wanted_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t(), None) if wanted_rows else None,
            _product(gradient.t(), rows.t(), None) if wanted_weight else None,
            gradient.sum(0) if wanted_bias else None,
        )
