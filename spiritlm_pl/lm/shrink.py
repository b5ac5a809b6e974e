"""Small copies of a language model's configuration with random weights, which run the same code in a moment.

Widths and numbers of heads are divided by one number, which leaves the size of a head, and all that depends on it,
unchanged. There are as many layers as it takes to have each kind of layer. Windows are short, so that a few tokens
reach beyond them. Where a family's own `forward` fails on such a copy, copies that keep more of the original sizes are
tried.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.integrations import deepspeed as sharding

VOCABULARY = 96
FEWEST_HEADS = 4
NARROWEST = 64  # in narrower layers, normalisation leaves too little difference
FEED_FORWARD = 64
WINDOW = 6
SHARDING = "_hf_deepspeed_config_weak_ref"
MOST_KINDS = 6
MOST_PARAMETERS = 100_000_000
NAMES_OF_ENDS = ("bos_token_id", "eos_token_id", "pad_token_id")

HEADS = (
    "num_attention_heads",
    "n_head",
    "n_heads",
    "num_heads",
    "attention_heads",
    "linear_num_key_heads",
    "linear_num_value_heads",
    "mamba_n_heads",
    "mamba_num_heads",
    "n_mamba_heads",
)
GROUPS = ("num_key_value_heads", "num_kv_heads", "mamba_n_groups", "mamba_ngroups", "n_groups")  # shared by heads
WIDTHS = (
    "hidden_size",
    "n_embd",
    "d_model",
    "word_embed_proj_dim",
    "lru_width",
    "attention_hidden_size",
    "mamba_d_ssm",
)
FEED_FORWARDS = (
    "intermediate_size",
    "intermediate_size_mlp",
    "moe_intermediate_size",
    "shared_intermediate_size",
    "shared_expert_intermediate_size",
    "ffn_dim",
    "ffn_hidden_size",
    "n_inner",
)
VOCABULARIES = ("vocab_size", "vocab_size_per_layer_input")
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "moe_top_k", "top_k_experts")
WINDOWS = ("sliding_window", "attention_window_size", "attention_chunk_size")


def small_network(config: PreTrainedConfig) -> PreTrainedModel:
    """Build a network of a configuration's family in float32 on the CPU, in evaluation mode, the same at each call.

    No random state is changed.

    Args:
        config: configuration of a model of any size.

    Raises:
        ValueError: if no small network of the family runs; the cause is the first error of its code.
    """
    reason: Exception | None = None
    for values in _attempts(config):
        try:
            return _built(type(config).from_dict(values))
        except Exception as error:  # the family's code may raise anything on unusual sizes
            reason = reason or error
    raise ValueError(f"no small copy of {config.model_type} could be made: {reason}") from reason


def _built(config: PreTrainedConfig) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        with torch.device("meta"):
            size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
        if size > MOST_PARAMETERS:
            raise ValueError(f"it has {size:,} parameters")
        torch.manual_seed(0)
        with torch.device("cpu"), torch.no_grad():
            network = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
            for parameter in network.parameters():
                if parameter.ndim > 1:  # weights as drawn for training are so small that little depends on the input
                    parameter.normal_(0, parameter.shape[-1] ** -0.5)
            network.eval()(input_ids=torch.arange(3, WINDOW + 6)[None], use_cache=False)
    return network


@contextmanager
def unsharded() -> Iterator[None]:
    """Build networks whole on this rank within the context, even inside ZeRO-3's sharding context."""
    partition: Any = sys.modules.get("deepspeed.runtime.zero.partition_parameters")
    settings = getattr(sharding, SHARDING, None)  # by it, transformers decides to shard
    sharding.unset_hf_deepspeed_config()
    if partition is not None:
        partition.shutdown_init_context()
    try:
        yield
    finally:
        if partition is not None:
            partition.restore_init_context()
        setattr(sharding, SHARDING, settings)


def with_attention(network: PreTrainedModel, attention: str) -> PreTrainedModel:
    """Build the same network anew with another implementation of attention, which some families read only then."""
    config = type(network.config).from_dict(network.config.to_dict())
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        twin = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention)
    twin.load_state_dict(network.state_dict())
    return twin.eval()


def _attempts(config: PreTrainedConfig) -> Iterator[dict[str, Any]]:
    """Yield the values of smaller configurations, smallest first; some families need ids of ends, so both are tried."""
    values = {name: value for name, value in config.to_dict().items() if name not in ("quantization_config", "dtype")}
    for end in (None, 0):
        yield from _sizes(config, values | {name: end for name in NAMES_OF_ENDS if name in values})


def _sizes(config: PreTrainedConfig, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    own = values | {name: VOCABULARY for name in VOCABULARIES if name in values}
    own |= _all(own, WINDOWS, WINDOW) | _few_layers(config, own)
    small_layers = own | _all(own, FEED_FORWARDS, FEED_FORWARD)
    thin = small_layers | _few_experts(own)
    yield thin | _narrow(own)
    yield thin
    yield small_layers | _narrow(own)
    yield own | _narrow(own)
    yield own


def _all(values: dict[str, Any], names: tuple[str, ...], most: int) -> dict[str, Any]:
    """Limit the values of these names, each a number or a list with one number per layer, to `most`."""
    found = {name: values[name] for name in names if values.get(name)}
    return {
        name: [min(each, most) for each in value] if isinstance(value, list) else min(value, most)
        for name, value in found.items()
    }


def _few_experts(values: dict[str, Any]) -> dict[str, Any]:
    groups = values.get("n_group") or 1
    given = [values[name] for name in CHOSEN if values.get(name)]  # one number, or one per layer
    chosen = max([1, *(max(each) if isinstance(each, list) else each for each in given)])
    return _all(values, EXPERTS, groups * -(-max(4, 2 * groups, 2 * chosen) // groups))


def _narrow(values: dict[str, Any]) -> dict[str, int]:
    """Divide widths and numbers of heads by one number; keep as few groups of heads as show that there are groups."""
    found = {name: values[name] for name in (*HEADS, *WIDTHS) if isinstance(values.get(name), int)}
    common = math.gcd(*found.values())
    divisor = 1
    for fewest in (FEWEST_HEADS, 1):  # 1 where the number of heads is a prime
        least = {name: min(NARROWEST if name in WIDTHS else fewest, value) for name, value in found.items()}
        fits = (d for d in range(1, common + 1) if common % d == 0 and all(found[n] // d >= least[n] for n in found))
        divisor = max(fits, default=1) if divisor == 1 else divisor
    heads = math.gcd(*(values[name] // divisor for name in HEADS if name in found)) or 1
    before = {values[name] for name in HEADS if name in found}
    groups = {name: values[name] for name in GROUPS if isinstance(values.get(name), int)}
    few = {name: heads if value in before else math.gcd(2, heads, value) for name, value in groups.items()}
    return {name: value // divisor for name, value in found.items()} | few


def _few_layers(config: PreTrainedConfig, values: dict[str, Any]) -> dict[str, Any]:
    """Take the first layers until each kind of layer has occurred, at least two."""
    total = getattr(config, "num_hidden_layers", None)
    if total is None:
        return {}
    lists = {name: value for name, value in values.items() if isinstance(value, list) and len(value) == total}
    kinds = [list(map(str, each)) for each in [*lists.values(), getattr(config, "layer_types", None) or []]]
    kinds = [each for each in kinds if len(set(each)) <= MOST_KINDS]  # lists of more values number the layers
    layers = min(2, total)
    while layers < total and any(set(each[:layers]) != set(each) for each in kinds):
        layers += 1
    few: dict[str, Any] = {}
    if values.get("num_kv_shared_layers"):  # the last layers share keys and values with the first ones
        layers = min(total, 2 * layers)
        few["num_kv_shared_layers"] = layers // 2
    for name, value in values.items():
        if name in lists:
            few[name] = value[:layers]
        elif isinstance(value, list) and all(type(number) is int and number < total for number in value):
            few[name] = [number for number in value if number < layers]  # indices of layers
        elif isinstance(value, dict) and value and all(str(key).isdigit() for key in value):
            few[name] = {key: part for key, part in value.items() if int(key) < layers}
    return few | {config.attribute_map.get("num_hidden_layers", "num_hidden_layers"): layers}
