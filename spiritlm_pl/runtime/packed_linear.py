"""Linear layers whose weights lie in oneDNN's blocks, several of one input in one product.

oneDNN reads a weight at twice the speed, and reuses it for all rows, when it lies in blocks; torch's linear layers
bring it into blocks at each call, or not at all. What follows a product (a residual, an activation) is computed by the
product's kernel, while its result is in the cache.

Shapes: B rows or batch, D input size, C channels, T time.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class PackedLinear:
    """One or more linear layers of the same input, as one product with weights in oneDNN's blocks.

    Args:
        weights: matrices (D', D), stacked.
        biases: bias (D',) of each; None for a layer without one.
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> None:
        """Copy the weights into blocks."""
        whole = weights[0] if len(weights) == 1 else torch.cat(list(weights))
        self.weight = torch.ops.mkldnn._reorder_linear_weight(whole.detach().contiguous(), None)
        self.bias: Tensor | None = None
        if any(bias is not None for bias in biases):
            parts = [w.new_zeros(len(w)) if b is None else b for w, b in zip(weights, biases, strict=True)]
            self.bias = torch.cat(parts).detach()

    @classmethod
    def of(cls, *layers: nn.Linear, dtype: torch.dtype | None = None) -> "PackedLinear":
        """Pack layers; None keeps the type of their weights."""
        return cls(
            [layer.weight.to(dtype) for layer in layers],
            [None if layer.bias is None else layer.bias.to(dtype) for layer in layers],
        )

    def __call__(self, rows: Tensor, residual: Tensor | None = None, gelu: bool = False) -> Tensor:
        """Map (B, D) to (B, D'), and add a residual (B, D') or apply GELU."""
        if residual is not None:
            assert not gelu, "a residual is added to what a layer gives, without an activation"
            added: Tensor = torch.ops.mkldnn._linear_pointwise.binary(rows, residual, self.weight, self.bias, "add")
            return added
        activation: tuple[str, list[float], str] = ("gelu", [], "none") if gelu else ("none", [], "")
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, *activation)
        return product


class PackedPointwise(nn.Conv1d):
    """Convolution of one tap, (B, C, T), whose weight is packed; on other devices and with gradients as it was."""

    packed: PackedLinear

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C', T)."""
        if input.device.type != "cpu" or input.dtype != self.weight.dtype or torch.is_grad_enabled():
            return super().forward(input)
        rows = input.transpose(1, 2)
        return self.packed(rows.flatten(0, 1)).view(*rows.shape[:2], -1).transpose(1, 2)


def pack_pointwise(network: nn.Module) -> None:
    """Pack all convolutions of one tap, whose weights must not change any more. They keep their names."""
    if not has_products(torch.float32):
        return
    for module in network.modules():
        if not isinstance(module, nn.Conv1d) or module.groups > 1:
            continue
        if module.kernel_size == module.stride == (1,) and module.padding == (0,):
            packed = PackedLinear([module.weight.squeeze(2)], [module.bias])
            module.__class__ = PackedPointwise
            cast(PackedPointwise, module).packed = packed


def has_products(dtype: torch.dtype) -> bool:
    """Try whether torch as it was built, on this processor, has the products of a type with packed weights."""
    weight = torch.linspace(-2, 2, 64, dtype=dtype).view(8, 8)
    rows = weight[:2] + 0.5
    try:
        layer = PackedLinear([weight], [None])
        found = torch.cat([layer(rows), layer(rows, rows), layer(rows, gelu=True)])
    except (AttributeError, RuntimeError):  # there is no such operation, or it does not serve here
        return False
    product = functional.linear(rows, weight)
    expected = torch.cat([product, product + rows, functional.gelu(product)])
    return torch.allclose(found, expected, rtol=torch.finfo(dtype).eps * 8, atol=torch.finfo(dtype).eps * 8)
