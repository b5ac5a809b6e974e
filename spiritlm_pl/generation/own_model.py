"""Language models like Llama that are read from their files and computed here, without `transformers`.

Its import takes most of the time until the first word of an answer. So `spiritlm generate` reads a model by this file
if everything in its folder is known: each value of `config.json`, and name, shape and type of each weight. A folder
with anything else is left to `transformers`, which also tells what is wrong with it. The weights are packed at once
(`spiritlm_pl.generation.packed_weights`). Answers are those of `transformers` up to rounding in float32.

Shapes: B batch, T tokens, D hidden size, E head dimension, V rows of the embedding.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from spiritlm_pl.generation.packed_decoding import PackedDecoding
from spiritlm_pl.generation.packed_weights import Map, PackedLayer, PackedModel
from spiritlm_pl.runtime.checkpoint import WEIGHTS_FILE, check_finite
from spiritlm_pl.runtime.checksums import check_folder
from spiritlm_pl.runtime.limits import MOST_LAYERS
from spiritlm_pl.runtime.model_description import CONFIG_FILE
from spiritlm_pl.runtime.packed_linear import PackedLinear, has_products

INDEX_FILE = f"{WEIGHTS_FILE}.index.json"
ADAPTER_FILE = "adapter_config.json"  # transformers would put such an adapter on top of the model
SIZES = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("max_position_embeddings", "vocab_size"),
)
# Values that must be there, and be these. Without them, or with others, a model computes otherwise than this file.
FIXED: dict[str, tuple[Any, ...]] = {"hidden_act": ("silu",), "dtype": ("float32",)}
# Values that may be there, and must then be these.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "pretraining_tp": (1,),
    "partial_rotary_factor": (1.0,),
    "rope_scaling": (None,),
    "is_llama_config": (True,),  # of SmolLM2, as the next one
    "rope_interleaved": (False,),
}
READ = {"model_type", "architectures", "rms_norm_eps", "rope_parameters", "tie_word_embeddings"}
# Values that change nothing about what a model computes when it is used.
BOOKKEEPING = {
    *("transformers_version", "use_cache", "initializer_range", "attention_dropout", "rope_theta", "head_dim"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "max_window_layers"),
}


@dataclass(frozen=True)
class Family:
    """What families of models like Llama differ in.

    Attributes:
        biased: names of values that tell whether the layers of attention and of the feed-forward part have biases.
        always_biased: layers that have biases in any case.
        fixed: values that must be there, and be these.
    """

    architecture: str
    biased: Mapping[str, tuple[str, ...]]
    always_biased: tuple[str, ...]
    fixed: Mapping[str, tuple[Any, ...]]


INPUTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
GATES = ("mlp.gate_proj", "mlp.up_proj")
OUTPUT, DOWN = "self_attn.o_proj", "mlp.down_proj"
NORMS = ("input_layernorm", "post_attention_layernorm")
FAMILIES = {
    "llama": Family("LlamaForCausalLM", {"attention_bias": (*INPUTS, OUTPUT), "mlp_bias": (*GATES, DOWN)}, (), {}),
    "mistral": Family("MistralForCausalLM", {}, (), {"sliding_window": (None,)}),
    "qwen2": Family("Qwen2ForCausalLM", {}, INPUTS, {"use_sliding_window": (False,), "sliding_window": (None,)}),
}


@dataclass(frozen=True, kw_only=True)
class OwnConfig:
    """What is known of a model.

    Attributes:
        model_type: name of its family.
        max_position_embeddings: number of tokens in its context.
        vocab_size: rows of its embedding.
        hidden_size: numbers of a hidden state.
        intermediate_size: numbers between the two parts of a feed-forward layer.
        num_hidden_layers: number of layers.
        num_attention_heads: number of heads of a layer.
        num_key_value_heads: number of them that have keys and values of their own.
        head_dim: numbers of a head.
        rms_norm_eps: number that norms add to the mean square.
        rope_theta: base of the rotation by position.
        tied: whether the output layer has the weights of the embedding.
        biased: layers with a bias.
    """

    model_type: str
    max_position_embeddings: int
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    tied: bool
    biased: frozenset[str]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight by its name."""
        hidden, heads, groups = self.hidden_size, self.num_attention_heads, self.num_key_value_heads
        matrices = {
            INPUTS[0]: (heads * self.head_dim, hidden),
            **dict.fromkeys(INPUTS[1:], (groups * self.head_dim, hidden)),
            OUTPUT: (hidden, heads * self.head_dim),
            **dict.fromkeys(GATES, (self.intermediate_size, hidden)),
            DOWN: (hidden, self.intermediate_size),
        }
        layer: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in matrices.items()}
        layer |= {f"{name}.bias": matrices[name][:1] for name in self.biased}
        layer |= {f"{name}.weight": (hidden,) for name in NORMS}
        whole = {f"{_layer(number)}{name}": layer[name] for number in range(self.num_hidden_layers) for name in layer}
        ends = {"model.embed_tokens.weight": (self.vocab_size, hidden), "model.norm.weight": (hidden,)}
        return whole | ends | ({} if self.tied else {"lm_head.weight": (self.vocab_size, hidden)})


def _layer(number: int) -> str:
    return f"model.layers.{number}."


def own_config(values: Mapping[str, Any]) -> OwnConfig | None:
    """Return what the values of a `config.json` say; None if anything among them is not known."""
    family = FAMILIES.get(str(values.get("model_type")))
    if family is None or values.get("architectures") != [family.architecture]:
        return None
    fixed = {**FIXED, **family.fixed}
    known = {*SIZES, *fixed, *NEUTRAL, *READ, *BOOKKEEPING, *family.biased}
    layers, rotation = values.get("num_hidden_layers"), values.get("rope_parameters")
    if type(layers) is not int or layers > MOST_LAYERS or not isinstance(rotation, dict):
        return None
    if values.get("layer_types") == ["full_attention"] * layers:
        known.add("layer_types")
    if not values.keys() <= known:
        return None
    sizes = [values.get(name) for name in SIZES]
    head_dim = values.get("head_dim", values.get("hidden_size"))
    numbers = [values.get("rms_norm_eps"), rotation.get("rope_theta")]
    right = all(name in values and values[name] in allowed for name, allowed in fixed.items())
    right = right and all(values[name] in allowed for name, allowed in NEUTRAL.items() if name in values)
    right = right and all(type(size) is int and size > 0 for size in (*sizes, head_dim))
    right = right and all(isinstance(number, float | int) and number is not True and number > 0 for number in numbers)
    flags = [values.get(name) for name in ("tie_word_embeddings", *family.biased)]
    right = right and all(type(flag) is bool for flag in flags)
    right = right and rotation == {"rope_type": "default", "rope_theta": values.get("rope_theta")}
    if not right:
        return None
    heads, groups = values["num_attention_heads"], values["num_key_value_heads"]
    size = values.get("head_dim", values["hidden_size"] // heads)
    if heads % groups or size % 2 or ("head_dim" not in values and values["hidden_size"] % heads):
        return None
    layers_with = [name for flag, names in family.biased.items() if values[flag] for name in names]
    return OwnConfig(
        model_type=values["model_type"],
        **{name: values[name] for name in SIZES},
        head_dim=size,
        rms_norm_eps=values["rms_norm_eps"],
        rope_theta=rotation["rope_theta"],
        tied=values["tie_word_embeddings"],
        biased=frozenset([*family.always_biased, *layers_with]),
    )


class OwnModel:
    """Language model that is computed with packed weights.

    Args:
        config: what is known of it.
        packed: its weights.
    """

    device = torch.device("cpu")

    def __init__(self, config: OwnConfig, packed: PackedModel) -> None:
        """Keep the parts."""
        self.config, self.packed = config, packed

    def decoding(self, mask: Tensor, room: int, allowed: Tensor) -> PackedDecoding:
        """Return the computation of the logits that follow growing sequences, as `PackedDecoding` is made."""
        return PackedDecoding(self.packed, mask, room, allowed)


def read_own_model(folder: str | Path, num_rows: int) -> OwnModel | None:
    """Read a language model; None if anything in its folder is not known, or this processor lacks the products.

    Args:
        folder: folder of the language model.
        num_rows: rows that the embedding must have.

    Raises:
        ValueError: if a file has another checksum than its folder says, or a weight is not finite.
    """
    folder = Path(folder)
    if (folder / ADAPTER_FILE).exists() or not has_products(torch.float32):
        return None
    try:
        values = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        config = own_config(values) if isinstance(values, dict) else None
        if config is None or config.vocab_size != num_rows:
            return None
        files = _weight_files(folder)
        if _stored(files) != {name: ("F32", shape) for name, shape in config.shapes().items()}:
            return None
        check_folder(folder)
        weights = {name: weight for file in files for name, weight in load_file(file).items()}
    except (OSError, SafetensorError, JSONDecodeError, UnicodeDecodeError, LookupError, TypeError):
        return None  # for transformers to tell what is damaged
    check_finite(weights, folder)
    return OwnModel(config, _packed(config, weights))


def _weight_files(folder: Path) -> list[Path]:
    """Return the files of weights that `transformers` reads."""
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
    return [folder / name for name in sorted(set(index["weight_map"].values()))]


def _stored(files: Sequence[Path]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape of each weight that files hold, without reading the weights."""
    found = {}
    for file in files:
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118, this is no dictionary
                part = stored.get_slice(name)
                found[name] = (str(part.get_dtype()), tuple(part.get_shape()))
    return found


def _packed(config: OwnConfig, weights: Mapping[str, Tensor]) -> PackedModel:
    """Pack weights by their names; none of them stays a part of a mapped file, which might change."""

    def linear(layer: str, *names: str) -> PackedLinear:
        biases = [weights.get(f"{layer}{name}.bias") for name in names]
        return PackedLinear([weights[f"{layer}{name}.weight"] for name in names], biases)

    def norm(name: str) -> Map:
        return RMSNorm(weights[f"{name}.weight"].clone(), config.rms_norm_eps)

    layers = [
        PackedLayer(
            norm=norm(f"{layer}{NORMS[0]}"),
            inputs=linear(layer, *INPUTS),
            output=linear(layer, OUTPUT),
            feed_norm=norm(f"{layer}{NORMS[1]}"),
            gates=linear(layer, *GATES),
            down=linear(layer, DOWN),
            activation=F.silu,
            scale=config.head_dim**-0.5,
            heads=config.num_attention_heads,
            groups=config.num_key_value_heads,
            size=config.head_dim,
        )
        for layer in map(_layer, range(config.num_hidden_layers))
    ]
    embedding = weights["model.embed_tokens.weight"].clone()
    head = embedding if config.tied else weights["lm_head.weight"].clone()
    rotation = Rotary(config.head_dim, config.rope_theta)
    return PackedModel(partial(F.embedding, weight=embedding), rotation, layers, norm("model.norm"), (head, None))


class RMSNorm:
    """Norm over the last axis (arXiv 1910.07467).

    Args:
        weight: factors (D,).
        eps: number that is added to the mean square.
    """

    def __init__(self, weight: Tensor, eps: float) -> None:
        """Keep the factors."""
        self.weight, self.eps = weight, eps

    def __call__(self, hidden: Tensor) -> Tensor:
        """Norm hidden states (..., D) in float32."""
        return self.weight * (hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + self.eps))


class Rotary:
    """Angles of the rotation by position (arXiv 2104.09864), in two halves of equal frequencies.

    Args:
        size: numbers of a head, E.
        base: ratio of the frequencies' range.
    """

    def __init__(self, size: int, base: float) -> None:
        """Compute the frequencies (E / 2,)."""
        self.frequencies = 1.0 / (base ** (torch.arange(0, size, 2, dtype=torch.float) / size))

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines (B, T, E) of positions (B, T)."""
        angles = positions[..., None].float() * self.frequencies
        angles = torch.cat([angles, angles], -1)
        return angles.cos(), angles.sin()
