"""Weights of a language model on a CPU, packed for products with few rows, and several layers in one product.

A step of decoding multiplies a few rows with every weight of the model. oneDNN reads a weight at twice the speed, and
reuses it for all rows of a batch, when it lies in blocks; torch's linear layers bring it into blocks at each call, or
not at all. So the weights are copied into blocks before the first step. Queries, keys and values come from one product,
and so do the two inputs of the gated feed-forward layer; the residual is added by the product's kernel.

`spiritlm_pl.generation.packing` packs models of `transformers`, and `spiritlm_pl.generation.own_model` those that this
package reads itself.

Shapes: B batch, T places, D hidden size, E head dimension, V rows of the embedding, A rows of it that are allowed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spiritlm_pl.runtime.packed_linear import PackedLinear

Map = Callable[[Tensor], Tensor]  # of the last axis
Rotation = Callable[[Tensor], tuple[Tensor, Tensor]]  # of positions (B, T): cosines and sines (B, T, E)


@dataclass(frozen=True)
class PackedLayer:
    """Packed weights and other parts of a layer."""

    norm: Map
    inputs: PackedLinear  # queries, keys and values
    output: PackedLinear
    feed_norm: Map
    gates: PackedLinear  # the gate, and what it is multiplied with
    down: PackedLinear
    activation: Map
    scale: float
    heads: int
    groups: int  # key-value heads
    size: int  # of a head

    def feed_forward(self, hidden: Tensor) -> Tensor:
        """Add the output (B, D) of the feed-forward part to the hidden states (B, D)."""
        gate, up = self.gates(self.feed_norm(hidden)).chunk(2, -1)
        return self.down(self.activation(gate) * up, hidden)


class PackedModel:
    """Packed weights of a model, in the order in which they are used.

    Args:
        embedding: function from tokens (...) to hidden states (..., D).
        rotation: angles of the rotation by position.
        layers: layers.
        norm: norm after the last layer.
        head: weight (V, D) and bias (V,) of the output layer, which is packed when it is needed; None for no bias.
    """

    def __init__(
        self,
        embedding: Map,
        rotation: Rotation,
        layers: Sequence[PackedLayer],
        norm: Map,
        head: tuple[Tensor, Tensor | None],
    ) -> None:
        """Keep the parts."""
        self.embedding, self.rotation, self.layers, self.norm = embedding, rotation, layers, norm
        self._head = head
        self._whole_head: PackedLinear | None = None

    def head(self, allowed: Tensor | None) -> PackedLinear:
        """Return the output layer, with only the rows (A,) of allowed tokens, or all of them with None."""
        weight, bias = self._head
        if allowed is not None:
            return PackedLinear([weight[allowed]], [None if bias is None else bias[allowed]])
        if self._whole_head is None:
            self._whole_head = PackedLinear([weight], [bias])
        return self._whole_head


def rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate heads (..., E) by their positions, given cosines and sines (..., E) of which `signed` made the latter."""
    return (heads * cos).addcmul_(heads.roll(heads.shape[-1] // 2, -1), sin)


def signed(sin: Tensor) -> Tensor:
    """Negate the first half of sines (..., E), as `rotated` takes them."""
    half = sin.shape[-1] // 2
    return torch.cat([-sin[..., :half], sin[..., half:]], -1)
