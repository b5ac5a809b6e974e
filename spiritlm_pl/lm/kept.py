"""What a linear layer keeps for the backward pass is made again where that is cheap, without a change of the layer.

Autograd asks hooks what to keep in place of a tensor (`torch.autograd.graph.saved_tensors_hooks`). So the layers stay
those of the network, with their hooks, adapters and ways of sharding.

Shapes: D features of the input, O of the output.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

LARGE_INPUT = 2**22  # numbers of an input from which on memory counts more than the time to make it again
LARGE_WEIGHT = 2**18  # numbers of a weight, likewise


@dataclass(frozen=True)
class _Input:
    """In place of the input of a layer, or of a view of this shape."""

    shape: torch.Size


@dataclass(frozen=True)
class _Weight:
    """In place of the weight of a layer in half precision, or of its transpose."""

    transposed: bool


def product(layer: nn.Module, hidden: Tensor, make: Callable[[], Tensor] | None = None) -> Tensor:
    """Compute `layer(hidden)`, which keeps neither a large input that can be made again nor a copy of a large weight.

    The copy is that in half precision which autocast makes. Weights that are sharded, quantized or adapted are left to
    their layers.

    Args:
        layer: layer from (..., D) to (..., O).
        hidden: its input.
        make: function that makes the input again, bit by bit; None keeps the input.
    """
    again = make is not None and hidden.numel() >= LARGE_INPUT
    # A copy of an input that is not contiguous might have the shape of the weight, and be taken for it.
    copies = hidden.is_contiguous() and _copies_weight(layer, hidden)
    if not torch.is_grad_enabled() or not (again or copies):
        plain: Tensor = layer(hidden)
        return plain
    place, size, kind, dtype = hidden.data_ptr(), hidden.numel(), hidden.device.type, hidden.dtype
    weight = layer.weight if isinstance(layer, nn.Linear) and copies else None
    version = 0 if weight is None else weight._version

    def pack(kept: Tensor) -> Tensor | _Input | _Weight:
        if kept.data_ptr() == place and kept.numel() == size:
            return _Input(kept.shape) if again else kept
        if weight is None or kept.dtype != dtype or kept.shape not in (weight.shape, weight.shape[::-1]):
            return kept
        return _Weight(kept.shape != weight.shape or not kept.is_contiguous())

    def unpack(kept: Tensor | _Input | _Weight) -> Tensor:
        if isinstance(kept, _Input):
            assert make is not None
            return make().view(kept.shape)
        if isinstance(kept, Tensor):
            return kept
        assert weight is not None
        if weight._version != version:
            raise RuntimeError("weights must not be changed between a forward pass and its backward pass")
        copied = weight.detach().to(dtype)
        return copied.t() if kept.transposed else copied

    # autocast would hold its copy until the end of the whole forward pass
    without_cache = torch.autocast(kind, dtype=dtype, cache_enabled=False) if copies else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack), without_cache:
        result: Tensor = layer(hidden)
    return result


def _copies_weight(layer: nn.Module, hidden: Tensor) -> bool:
    """Whether autocast copies a large weight, which lies in the layer whole, into the type of the input."""
    kind = hidden.device.type
    if type(layer) is not nn.Linear or not torch.is_autocast_enabled(kind) or hasattr(layer.weight, "ds_id"):
        return False
    weight, dtype = layer.weight, torch.get_autocast_dtype(kind)
    whole = type(weight) is nn.Parameter and weight.dtype == torch.float32 and weight.numel() >= LARGE_WEIGHT
    return whole and hidden.dtype == dtype != torch.float32
