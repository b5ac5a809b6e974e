"""A small copy of a language model's configuration, with random weights: the same code, in a moment.

Widths and numbers of heads are divided by one number, which leaves the size of a head, and all that depends on it, as it
is; layers are as many as show each kind of layer; windows are short, so that few tokens reach beyond them. A family
that does not bear it is tried with more of its own sizes.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

VOCABULARY = 96
FEED_FORWARD = 64
WINDOW = 6
MOST_PARAMETERS = 60_000_000

HEADS = (
    "num_attention_heads",
    "num_key_value_heads",
    "n_head",
    "n_heads",
    "num_heads",
    "num_kv_heads",
    "attention_heads",
    "linear_num_key_heads",
    "linear_num_value_heads",
    "mamba_n_heads",
    "mamba_n_groups",
    "n_mamba_heads",
    "mamba_ngroups",
    "n_groups",
)
WIDTHS = (
    "hidden_size",
    "n_embd",
    "d_model",
    "word_embed_proj_dim",
    "lru_width",
    "attention_hidden_size",
    "mamba_d_ssm",
    "attention_hidden_size",
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
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
WINDOWS = ("sliding_window", "attention_window_size", "attention_chunk_size")


def small_network(config: PreTrainedConfig, attention: str | None = None) -> PreTrainedModel:
    """A network of a configuration's family in float32 on the CPU, in evaluation mode, the same at each call.

    No random state is touched, and nothing is sharded as long as no sharding context is open.

    Args:
        config: of any size.
        attention: name of an implementation of attention; None for the family's default.

    Raises:
        ValueError: if no small network can be made of it; the cause is what its code says.
    """
    reason: Exception | None = None
    for values in _attempts(config):
        try:
            return _built(type(config).from_dict(values), attention)
        except _TooLarge as error:
            reason = error
        except Exception as error:  # the family's own code, on sizes that nobody has tried
            reason = reason or error
    raise ValueError(f"no small copy of {config.model_type} could be made: {reason}") from reason


class _TooLarge(ValueError):
    pass


def _built(config: PreTrainedConfig, attention: str | None) -> PreTrainedModel:
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > MOST_PARAMETERS:
        raise _TooLarge(f"it has {size:,} parameters")
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(0)
        network = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim > 1:  # as drawn for training, weights are so small that nothing depends on much
                    parameter.normal_(0, parameter.shape[-1] ** -0.5, generator=generator)
    network.eval()
    return network


def _attempts(config: PreTrainedConfig) -> Iterator[dict[str, Any]]:
    """Values of smaller configurations, the smallest first."""
    own = {name: value for name, value in config.to_dict().items() if name not in ("quantization_config", "dtype")}
    own |= {name: None for name in ("bos_token_id", "eos_token_id", "pad_token_id") if name in own}
    own |= {"vocab_size": VOCABULARY} | _few_layers(config, own) | _all(own, WINDOWS, WINDOW)
    thin = own | _all(own, FEED_FORWARDS, FEED_FORWARD) | _few_experts(own)
    yield thin | _narrow(own)
    yield thin
    yield own | _narrow(own)
    yield own


def _all(values: dict[str, Any], names: tuple[str, ...], most: int) -> dict[str, int]:
    return {name: most for name in names if isinstance(values.get(name), int) and values[name] > most}


def _few_experts(values: dict[str, Any]) -> dict[str, int]:
    groups = values.get("n_group") or 1
    chosen = values.get("num_experts_per_tok") or values.get("num_experts_per_token") or 1
    return _all(values, EXPERTS, groups * -(-max(4, 2 * groups, 2 * chosen) // groups))


def _narrow(values: dict[str, Any]) -> dict[str, int]:
    """Widths and numbers of heads divided by what divides all, two heads of each kind left where there were."""
    found = {name: values[name] for name in (*HEADS, *WIDTHS) if isinstance(values.get(name), int) and values[name] > 1}
    heads = [values[name] for name in HEADS if name in found]
    common = math.gcd(*found.values())
    fewest = min(heads, default=common)
    divisor = max(d for d in range(1, common + 1) if common % d == 0 and (fewest // d > 1 or d == 1))
    return {name: value // divisor for name, value in found.items()}


def _few_layers(config: PreTrainedConfig, values: dict[str, Any]) -> dict[str, Any]:
    """As many layers as there are until each kind has been seen, two at least."""
    total = config.num_hidden_layers
    lists = {name: value for name, value in values.items() if isinstance(value, list) and len(value) == total}
    kinds = [*lists.values(), *([config.layer_types] if getattr(config, "layer_types", None) else [])]
    wanted = [set(map(str, each)) for each in kinds]
    layers = next(
        (
            number
            for number in range(min(2, total), total)
            if all(set(map(str, each[:number])) == all_of for each, all_of in zip(kinds, wanted, strict=True))
        ),
        total,
    )
    name = config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    return {name: layers, **{key: value[:layers] for key, value in lists.items()}}
