"""Weights of a language model on a CPU, packed for products with few rows, and several layers in one product.

A step of decoding multiplies a few rows with every weight of the model. oneDNN reads a weight at twice the speed, and
reuses it for all rows of a batch, when it lies in blocks; torch's linear layers bring it into blocks at each call, or
not at all. So the weights are copied into blocks before the first step. Queries, keys and values come from one product,
and so do the two inputs of the gated feed-forward layer; the residual is added by the product's kernel.

Shapes: B batch, D hidden size, V rows of the embedding, A rows of it that are allowed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from spiritlm_pl.lm.attention import NAME
from spiritlm_pl.lm.logits import decoder
from spiritlm_pl.lm.loss import LossHead

LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
FEED_FORWARD = {"gate_proj", "up_proj", "down_proj", "act_fn"}
FAMILIES = ("llama", "mistral", "qwen2")  # whose code was read: attention depends on positions by rotation alone
ROTATION = {  # what tells the frequencies of the rotation, which the model's own module computes
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "attention_factor",
    "original_max_position_embeddings",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "low_freq_factor",
    "high_freq_factor",
    "short_factor",
    "long_factor",
}
ATTENTIONS = {"eager", "sdpa", NAME}
CODE = (
    "torch.nn.modules.",
    "transformers.activations",
    *(f"transformers.models.{family}.modeling_{family}" for family in FAMILIES),
    "spiritlm_pl.lm.layers",
    "spiritlm_pl.lm.loss",
    "spiritlm_pl.adapters.rows",
)

Fingerprint = tuple[object, ...]


def fingerprint(model: PreTrainedModel) -> Fingerprint:
    """Describe the weights and parts of a model, so that descriptions are equal only where these are the same.

    Every weight is read once, about as much work as one step of decoding.
    """
    # Addresses and versions are not enough: a write through `weight.data`, as in PEFT's merging of adapters, changes
    # neither, and tensors made in inference mode have no version. Stale weights would give wrong answers without a
    # word, so all contents count. Parts can be exchanged or scaled without any change of a weight.
    weights = [
        (
            weight.data_ptr(),
            0 if weight.is_inference() else weight._version,
            weight.shape,
            weight.stride(),
            _row_sums(weight),
        )
        for weight in model.parameters()
    ]
    parts = [(id(module), getattr(module, "scaling", None)) for module in model.modules()]
    return (*weights, *parts)


def _row_sums(weight: Tensor) -> bytes:
    """Add up the bits of each row, as integers: exact, so any change of one number shows, as does an exchange of rows.

    Numbers are read as 64-bit integers where they fill these, which is ten times as fast as one by one.
    """
    held = weight.detach().contiguous()
    if held.shape[-1] * held.element_size() % 8 == 0 and held.data_ptr() % 8 == 0:
        words = held.view(torch.int64)
    else:
        words = held.view({2: torch.int16, 4: torch.int32}[held.element_size()])
    return words.sum(-1, dtype=torch.int64).numpy().tobytes()


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
    def of(cls, *layers: nn.Linear) -> "PackedLinear":
        """Pack layers."""
        return cls([layer.weight for layer in layers], [layer.bias for layer in layers])

    def __call__(self, rows: Tensor, residual: Tensor | None = None) -> Tensor:
        """Map (B, D) to (B, D'), and add a residual (B, D')."""
        if residual is None:
            product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")
            return product
        added: Tensor = torch.ops.mkldnn._linear_pointwise.binary(rows, residual, self.weight, self.bias, "add")
        return added


@dataclass(frozen=True)
class PackedLayer:
    """Packed weights and other parts of a layer."""

    norm: nn.Module
    inputs: PackedLinear  # queries, keys and values
    output: PackedLinear
    feed_norm: nn.Module
    gates: PackedLinear  # the gate, and what it is multiplied with
    down: PackedLinear
    activation: nn.Module
    scale: float
    heads: int
    groups: int  # key-value heads
    size: int  # of a head


class PackedModel:
    """Packed weights of a model.

    Args:
        model: model for which `can_be_packed` is True.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Copy the weights of all layers; those of the output layer when they are needed."""
        base: Any = decoder(model)
        self.embedding: nn.Module = base.embed_tokens
        self.norm: nn.Module = base.norm
        self.rotary: nn.Module = base.rotary_emb
        self.layers = [_packed_layer(layer) for layer in base.layers]
        self._head: nn.Linear = cast(Any, model.get_output_embeddings())
        self._whole_head: PackedLinear | None = None

    def head(self, allowed: Tensor | None) -> PackedLinear:
        """Return the output layer, with only the rows (A,) of allowed tokens, or all of them with None."""
        weight, bias = self._head.weight, self._head.bias
        if allowed is not None:
            return PackedLinear([weight[allowed]], [None if bias is None else bias[allowed]])
        if self._whole_head is None:
            self._whole_head = PackedLinear([weight], [bias])
        return self._whole_head


def _packed_layer(layer: Any) -> PackedLayer:
    attention, feed_forward = layer.self_attn, layer.mlp
    return PackedLayer(
        norm=layer.input_layernorm,
        inputs=PackedLinear.of(attention.q_proj, attention.k_proj, attention.v_proj),
        output=PackedLinear.of(attention.o_proj),
        feed_norm=layer.post_attention_layernorm,
        gates=PackedLinear.of(feed_forward.gate_proj, feed_forward.up_proj),
        down=PackedLinear.of(feed_forward.down_proj),
        activation=feed_forward.act_fn,
        scale=attention.scaling,
        heads=attention.q_proj.out_features // attention.head_dim,
        groups=attention.k_proj.out_features // attention.head_dim,
        size=attention.head_dim,
    )


def can_be_packed(model: PreTrainedModel) -> bool:
    """Whether a model has the parts of a Llama, as they are, on a CPU in float32 or bfloat16."""
    if torch.is_autocast_enabled("cpu") or not _is_held_plainly(model):
        return False
    config: Any = model.config
    known = config._attn_implementation in ATTENTIONS
    known = known and set(getattr(config, "rope_parameters", None) or ()) <= ROTATION
    known = known and cast(Any, model)._compiled_call_impl is None
    if not known or not all(_computes_as_known(module) for module in model.modules()):
        return False
    base: Any = decoder(model)
    layers = list(getattr(base, "layers", ()))
    names = {name for name, _ in base.named_children()}
    plain = bool(layers) and names == {"embed_tokens", "layers", "norm", "rotary_emb"}
    head = model.get_output_embeddings()
    plain = plain and (type(head) is nn.Linear or (type(head) is LossHead and head.rows is None))
    return plain and all(_is_plain(layer) for layer in layers)


def _is_held_plainly(model: PreTrainedModel) -> bool:
    """Whether all weights are plain tensors on a CPU, of one type that oneDNN multiplies there."""
    weights = list(model.parameters())
    if not all(type(weight) is nn.Parameter for weight in weights):
        return False
    if {held.device.type for held in (*weights, *model.buffers())} != {
        "cpu"
    } or not torch.backends.mkldnn.is_available():
        return False
    dtypes = {weight.dtype for weight in weights}
    if dtypes == {torch.bfloat16}:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtypes == {torch.float32}


def _is_plain(layer: nn.Module) -> bool:
    parts = dict(layer.named_children())
    if parts.keys() != LAYER:
        return False
    linear = True
    for name, expected in (("self_attn", ATTENTION), ("mlp", FEED_FORWARD)):
        own = dict(parts[name].named_children())
        linear = linear and own.keys() == expected
        linear = linear and all(type(part) is nn.Linear for key, part in own.items() if key.endswith("_proj"))
    return linear and {"scaling", "head_dim"} <= vars(parts["self_attn"]).keys()


def _computes_as_known(module: nn.Module) -> bool:
    """Whether a call of a module runs code that is known, and nothing with it, such as the gathering of its weights.

    A trial of a few tokens would not find out code that computes otherwise far from the beginning, and no trial sees
    what was put in the place of one module's `forward`.
    """
    if "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks:
        return False
    return all(str(code.__module__).startswith(CODE) for code in (type(module), type(module).forward))
