"""Continuations by models of `transformers`: with packed weights where a model has them, else by its `generate`.

Shapes: B batch, T tokens, V rows of the embedding.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

from spiritlm_pl.generation.batches import same_rotary_throughout
from spiritlm_pl.generation.logits import AllowOnly, Processors
from spiritlm_pl.generation.packed_decoding import PackedDecoding, cache_fits, decode
from spiritlm_pl.generation.packing import own_reader, packed_model
from spiritlm_pl.generation.prefixes import shared_cache
from spiritlm_pl.generation.stopping import OwnEnds
from spiritlm_pl.lm import probe
from spiritlm_pl.lm.padding import left_pad


def may_pad(model: PreTrainedModel, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> bool:
    """Whether prompts of different lengths may be padded, and continued together by at most so many tokens each."""
    same = same_rotary_throughout(model.config, prompts, limits)
    return same and probe.outcome(model.config, "padded", _padding_difference).right


def continued(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    tokens: Tensor,
    mask: Tensor,
    processors: Processors,
    ends: OwnEnds,
    synced: bool,
    share: bool,
) -> Tensor:
    """Continue a batch of prompts, and return the new tokens (B, N).

    Args:
        model: causal language model in evaluation mode.
        prompts: token ids of each prompt.
        limits: largest number of new tokens of each prompt.
        tokens: the prompts (B, T), padded on the left.
        mask: places of the prompts (B, T), True where there is a token.
        processors: what bans tokens, of which the first is an `AllowOnly`, and adds sampling noise.
        ends: what ends a row.
        synced: whether every rank continues until all are done.
        share: whether what all prompts begin with is computed once, where the model allows it.
    """
    cached = same_rotary_throughout(model.config, prompts, limits)
    cache = shared_cache(model, prompts) if share and cached else None
    length, limit = tokens.shape[1], max(limits)
    packed = packed_model(model) if cached and not synced else None
    if packed is not None and cache_fits(packed, len(tokens), length + limit):
        allowed = cast(AllowOnly, processors[0]).mask
        decoding = PackedDecoding(packed, mask, limit - 1, allowed, own_reader(model, mask, cache))
        return decode(decoding, tokens, processors, ends)
    config = GenerationConfig(
        max_new_tokens=limit,
        do_sample=False,
        num_beams=1,
        use_cache=cached,
        pad_token_id=0,
        eos_token_id=sorted(ends.stops.ids) or None,
    )
    with _without_defaults(model):
        generated: Tensor = cast(Any, model).generate(
            tokens,
            attention_mask=mask.long(),
            generation_config=config,
            logits_processor=LogitsProcessorList(cast(Any, processors)),
            stopping_criteria=StoppingCriteriaList(cast(Any, [ends])),
            synced_gpus=synced,
            **({} if cache is None else {"cache": cache}),
        )
    return generated[:, length:]


def following(model: PreTrainedModel, prompt: Tensor, limit: int, allowed: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function that computes the logits (1, V) after tokens (1, N), which it is given one more at each call.

    Args:
        model: causal language model in evaluation mode.
        prompt: tokens (1, T) of the first call.
        limit: largest number of calls.
        allowed: mask (V,) of the tokens that may be generated.
    """
    cached = same_rotary_throughout(model.config, [prompt[0].tolist()], [limit])
    cached = cached and probe.outcome(model.config, "cache", _cache_difference).right
    packed = packed_model(model) if cached else None
    if packed is not None and cache_fits(packed, 1, prompt.shape[1] + limit):
        mask = torch.ones_like(prompt, dtype=torch.bool)
        return PackedDecoding(packed, mask, limit - 1, allowed, own_reader(model, mask))
    cache = DynamicCache(config=model.config) if cached else None
    known = 0  # tokens in the cache, which recurrent layers do not tell

    def after(tokens: Tensor) -> Tensor:
        nonlocal known
        new = tokens[:, known:]
        known = 0 if cache is None else tokens.shape[1]
        return _last_logits(model, new, cache).float()

    return after


@contextmanager
def _without_defaults(model: PreTrainedModel) -> Iterator[None]:
    """Clear what the base model's `generation_config.json` asks for (penalties, bans, other end tokens).

    `transformers` takes from there every option that it is not given, so that streaming would give other answers than
    `generate`.
    """
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _padding_difference(model: PreTrainedModel) -> float:
    """Return the largest difference between log-probabilities of padded prompts and of the plain `forward`."""
    prompts = probe.random_tokens((5, 9))
    tokens, mask = left_pad(prompts)
    config = GenerationConfig(
        max_new_tokens=3,
        do_sample=False,
        use_cache=True,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    with _without_defaults(model):
        generated: Any = cast(Any, model).generate(tokens, attention_mask=mask.long(), generation_config=config)
    found = torch.stack(generated.logits, 1).float().log_softmax(-1)  # (B, 3, V)
    new = generated.sequences[:, tokens.shape[1] :]
    expected = [
        probe.plain_logits(model, [*prompt, *own.tolist()])[-4:-1].log_softmax(-1)
        for prompt, own in zip(prompts, new, strict=True)
    ]
    return float((found - torch.stack(expected)).abs().max())


def _last_logits(model: PreTrainedModel, tokens: Tensor, cache: DynamicCache | None) -> Tensor:
    """Return logits (1, V) after tokens (1, T), which follow those in the cache if one is given."""
    logits: Tensor = model(input_ids=tokens, cache=cache, use_cache=cache is not None, logits_to_keep=1).logits[:, -1]
    return logits


def _cache_difference(model: PreTrainedModel) -> float:
    """Return the largest difference between log-probabilities with a cache and of the plain `forward`."""
    tokens = probe.random_tokens((12,))[0]
    cache = DynamicCache(config=model.config)
    steps = (slice(0, 9), slice(9, 10), slice(10, 11), slice(11, 12))
    found = torch.cat([_last_logits(model, torch.tensor([tokens[step]]), cache) for step in steps])
    expected = probe.plain_logits(model, tokens)[8:]
    return float((found.float().log_softmax(-1) - expected.log_softmax(-1)).abs().max())
