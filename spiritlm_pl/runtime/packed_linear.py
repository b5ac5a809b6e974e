"""Linear layers whose weights lie in oneDNN's blocks, several of one input in one product.

oneDNN reads a weight at twice the speed, and reuses it for all rows, when it lies in blocks; torch's linear layers
bring it into blocks at each call, or not at all. What follows a product (a residual, an activation) is computed by the
product's kernel, while its result is in the cache.

Shapes: B rows or batch, D input size, C channels, T time.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from spiritlm_pl.runtime.inference import ChannelsLastConv1d

Packed = TypeVar("Packed")
PACKED_TYPES = (torch.float32, torch.bfloat16)


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


class PackedCopies(Generic[Packed]):
    """What was packed from the weights of modules, packed anew where these were changed, moved or given another type.

    It lies outside the modules, which can be copied and saved as before.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._kept: weakref.WeakKeyDictionary[nn.Module, tuple[list[tuple[Tensor, int]], Packed]] = (
            weakref.WeakKeyDictionary()
        )

    def of(self, module: nn.Module, pack: Callable[[], Packed]) -> Packed:
        """Return what `pack` made for a module, or let it pack where there is nothing that fits the weights.

        Changes in place do not show where torch keeps no count of them: through a weight's `data`, and of weights that
        were made in inference mode.
        """
        weights = list(module.parameters())
        known, packed = self._kept.get(module, ([], None))
        if packed is not None and len(known) == len(weights):
            if all(_is_still(weight, *one) for weight, one in zip(weights, known, strict=True)):
                return packed
        # The tensors are kept, not their addresses alone, which could be given to other weights once they are free.
        made = pack()
        self._kept[module] = [(weight.detach(), _version(weight)) for weight in weights], made
        return made


def _is_still(weight: Tensor, known: Tensor, version: int) -> bool:
    """Whether a weight is what it was when it was packed."""
    same = weight.data_ptr() == known.data_ptr() and weight.dtype == known.dtype and weight.device == known.device
    return same and _version(weight) == version


def _version(weight: Tensor) -> int:
    """Return how often a weight was changed; 0 for one that was made in inference mode, which has no count."""
    return 0 if weight.is_inference() else weight._version


class PackedPointwise(nn.Conv1d):
    """Convolution of one tap, (B, C, T), by a packed weight; in other types, elsewhere and with gradients as it was.

    Whoever gives it another type than float32 looks for the products of that one (`has_products`).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C', T)."""
        packable = input.device.type == "cpu" and input.dtype == self.weight.dtype and input.ndim == 3
        if not packable or torch.is_grad_enabled() or input.dtype not in PACKED_TYPES:
            return super().forward(input)
        rows = input.transpose(1, 2)
        packed = _pointwise.of(self, lambda: PackedLinear([self.weight.squeeze(2)], [self.bias]))
        return packed(rows.flatten(0, 1)).view(*rows.shape[:2], -1).transpose(1, 2)


_pointwise: PackedCopies[PackedLinear] = PackedCopies()


def pack_pointwise(network: nn.Module) -> None:
    """Compute all convolutions of one tap by packed weights. They keep their names.

    Layers whose weight is normalised, or which are parametrised otherwise, stay as they are.
    """
    if not has_products(torch.float32):
        return
    for module in network.modules():
        if type(module) in (nn.Conv1d, ChannelsLastConv1d) and cast(nn.Conv1d, module).groups == 1:
            if module.kernel_size == module.stride == (1,) and module.padding == (0,):
                module.__class__ = PackedPointwise


def has_products(dtype: torch.dtype) -> bool:
    """Try whether torch as it was built, on this processor, has the products of a type with packed weights.

    What device and precision are set around the call does not matter.
    """
    with torch.autocast("cpu", enabled=False), torch.device("cpu"), torch.no_grad():
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
