"""Packing of models of `transformers` that are built like Llama, and reading of prompts by their own `forward`.

Only models whose code is known, module by module, are packed, and `spiritlm_pl.lm.probe` compares each family with its
own `forward`.

Shapes: B batch, T places of the prompts, V rows of the embedding.
"""

import weakref
from typing import Any, cast

import psutil
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from spiritlm_pl.generation import packed_decoding
from spiritlm_pl.generation.packed_decoding import PackedDecoding, Reader
from spiritlm_pl.generation.packed_weights import PackedLayer, PackedModel
from spiritlm_pl.lm import probe
from spiritlm_pl.lm.attention import NAME
from spiritlm_pl.lm.logits import decoder
from spiritlm_pl.lm.loss import LossHead
from spiritlm_pl.lm.padding import left_pad
from spiritlm_pl.runtime.onednn_linear import OneDNNLinear
from spiritlm_pl.runtime.packed_linear import PackedLinear

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
    "spiritlm_pl.runtime.onednn_linear",
)
LINEAR = (nn.Linear, OneDNNLinear)  # the second while another thread scores

Fingerprint = tuple[object, ...]
MOST_PAIRS = 2**26  # of places of padded prompts that packed weights read: masks take 300 MiB for as many
_packed: "weakref.WeakKeyDictionary[PreTrainedModel, tuple[Fingerprint, PackedModel]]" = weakref.WeakKeyDictionary()
_fixed: "weakref.WeakSet[PreTrainedModel]" = weakref.WeakSet()


def promise_fixed(model: PreTrainedModel) -> None:
    """Promise that weights and parts of a model never change again, so that they are not compared at every answer."""
    _packed.pop(model, None)  # they may have changed since they were packed
    _fixed.add(model)


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


def packed_model(model: PreTrainedModel) -> PackedModel | None:
    """Return the packed weights of a model; None where it cannot be packed, or memory is short.

    Those of a model without trainable parameters are kept, until a weight changes.
    """
    if model in _fixed and model in _packed:
        return _packed[model][1]
    if not can_be_packed(model) or not probe.outcome(model.config, "packed", _packed_difference).right:
        return None
    trained = any(weight.requires_grad for weight in model.parameters())
    state = None if trained else fingerprint(model)
    kept = _packed.get(model)
    if kept is not None and kept[0] == state:
        return kept[1]
    _packed.pop(model, None)
    del kept  # its memory is free again
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    if size > packed_decoding.MOST_MEMORY * psutil.virtual_memory().available:
        return None
    made = pack(model)
    if state is not None:
        _packed[model] = state, made
    return made


def pack(model: PreTrainedModel) -> PackedModel:
    """Copy the weights of all layers of a model for which `can_be_packed` is True."""
    base: Any = decoder(model)
    head: Any = model.get_output_embeddings()
    kind = next(base.embed_tokens.parameters())  # its type is that of the angles

    def rotation(positions: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = base.rotary_emb(kind, position_ids=positions)
        return cos, sin

    layers = [_packed_layer(layer) for layer in base.layers]
    return PackedModel(base.embed_tokens, rotation, layers, base.norm, (head.weight, head.bias))


def _packed_layer(layer: Any) -> PackedLayer:
    attention, feed_forward = layer.self_attn, layer.mlp
    return PackedLayer(
        norm=layer.input_layernorm,
        inputs=_linear(attention.q_proj, attention.k_proj, attention.v_proj),
        output=_linear(attention.o_proj),
        feed_norm=layer.post_attention_layernorm,
        gates=_linear(feed_forward.gate_proj, feed_forward.up_proj),
        down=_linear(feed_forward.down_proj),
        activation=feed_forward.act_fn,
        scale=attention.scaling,
        heads=attention.q_proj.out_features // attention.head_dim,
        groups=attention.k_proj.out_features // attention.head_dim,
        size=attention.head_dim,
    )


def _linear(*layers: nn.Linear) -> PackedLinear:
    return PackedLinear([layer.weight for layer in layers], [layer.bias for layer in layers])


def own_reader(model: PreTrainedModel, mask: Tensor, cache: DynamicCache | None = None) -> Reader | None:
    """Return a function that reads prompts by the model's own `forward`; None where packed weights read them.

    Args:
        model: model.
        mask: places of the prompts (B, T), padded on the left, True where there is a token.
        cache: states of the first places of the prompts; None for none.
    """
    if cache is None and (mask.numel() * mask.shape[1] <= MOST_PAIRS or bool(mask.all())):
        return None
    states: DynamicCache = DynamicCache(config=model.config) if cache is None else cache

    def read(prompts: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        known = states.get_seq_length()
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits: Tensor = model(
            input_ids=prompts[:, known:],
            attention_mask=None if bool(mask.all()) else mask.long(),
            position_ids=positions[:, known:],
            cache=states,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        layers = [cast(Any, layer) for layer in states.layers]
        return logits, [layer.keys for layer in layers], [layer.values for layer in layers]

    return read


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
    plain = plain and (type(head) in LINEAR or (type(head) is LossHead and head.rows is None))
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
        linear = linear and all(type(part) in LINEAR for key, part in own.items() if key.endswith("_proj"))
    return linear and {"scaling", "head_dim"} <= vars(parts["self_attn"]).keys()


def _computes_as_known(module: nn.Module) -> bool:
    """Whether a call of a module runs code that is known, and nothing with it, such as the gathering of its weights.

    A trial of a few tokens would not find out code that computes otherwise far from the beginning, and no trial sees
    what was put in the place of one module's `forward`.
    """
    if "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks:
        return False
    return all(str(code.__module__).startswith(CODE) for code in (type(module), type(module).forward))


def _packed_difference(model: PreTrainedModel) -> float:
    """Return the largest difference between log-probabilities of packed decoding and of the plain `forward`."""
    sequences = probe.random_tokens((9, 13))
    packed = pack(model)
    found = [_log_probabilities(model, packed, rows) for rows in (sequences, sequences[1:])]  # padded, and not
    expected = torch.stack([probe.plain_logits(model, sequence)[-5:].log_softmax(-1) for sequence in sequences])
    return float(max((found[0] - expected).abs().max(), (found[1] - expected[1:]).abs().max()))


def _log_probabilities(model: PreTrainedModel, packed: PackedModel, sequences: list[list[int]]) -> Tensor:
    """Log-probabilities (B, 5, V) after each of the last five tokens of sequences, of which four come one by one."""
    everything = torch.ones(cast(Tensor, model.get_input_embeddings().weight).shape[0], dtype=torch.bool)
    prompts, mask = left_pad([sequence[:-4] for sequence in sequences])
    decoding = PackedDecoding(packed, mask, 4, everything, own_reader(model, mask))
    tokens = torch.cat([prompts, torch.tensor([sequence[-4:] for sequence in sequences])], 1)
    return torch.stack([decoding(tokens[:, : prompts.shape[1] + new]) for new in range(5)], 1).log_softmax(-1)
