"""The beginning that prompts of a batch share, such as solved examples before each question, is computed once.

The states that the model keeps of it are copied into the places where each prompt, padded on the left, has it.

Shapes: B batch, T tokens of padded prompts, C tokens whose states are cached, H heads, D head dimension.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from spiritlm_pl.lm import probe
from spiritlm_pl.lm.padding import left_pad
from spiritlm_pl.lm.positions import same_rotary_factors

SHORTEST = 16  # tokens; computing fewer in each row costs less than a further call of the model


def shared_length(prompts: Sequence[Sequence[int]]) -> int:
    """Return the number of tokens that all prompts begin with, at least one at the end of the shortest left out."""
    shortest = min(map(len, prompts))
    first = prompts[0]
    for place in range(shortest - 1):
        if any(prompt[place] != first[place] for prompt in prompts):
            return place
    return shortest - 1


def shared_cache(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> DynamicCache | None:
    """Compute the beginning that prompts share; None where that does not pay, or the model's family cannot do it.

    Args:
        model: causal language model in evaluation mode.
        prompts: B sequences of token ids, none of them empty.

    Returns:
        The states of the first C of the T places of the prompts as `left_pad` places them.
    """
    if len(prompts) < 2 or shared_length(prompts) < SHORTEST:
        return None
    if not same_rotary_factors(model.config, shared_length(prompts), max(map(len, prompts))):
        return None
    if not probe.outcome(model.config, "shared beginnings", _sharing_difference).right:
        return None
    return _shared_cache(model, prompts)


def _shared_cache(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> DynamicCache | None:
    shared = shared_length(prompts)
    lengths = [len(prompt) for prompt in prompts]
    rest = max(lengths) - shared  # tokens of each row that are computed with it
    cache = DynamicCache(config=model.config)
    beginning = torch.tensor([list(prompts[0][:shared])], device=model.device)
    model(input_ids=beginning, cache=cache, use_cache=True, logits_to_keep=1)
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or layer.get_seq_length() != shared:
            return None  # a window of attention, whose layers do not keep all places, or a recurrent state
        assert layer.keys is not None and layer.values is not None
        layer.keys, layer.values = (_placed(states, lengths, rest) for states in (layer.keys, layer.values))
    return cache


def _placed(states: Tensor, lengths: Sequence[int], rest: int) -> Tensor:
    """Copy states (1, H, S, D) into rows (B, H, C, D) that end `rest` places before the end of each prompt."""
    _, heads, _, size = states.shape
    places = max(lengths) - rest
    placed = states.new_zeros(len(lengths), heads, places, size)
    for row, length in enumerate(lengths):
        number = max(0, length - rest)
        placed[row, :, places - number :] = states[0, :, :number]
    return placed


def _sharing_difference(model: PreTrainedModel) -> float:
    """Return the largest difference between log-probabilities after a shared beginning and of the plain `forward`."""
    beginning, *ends = probe.random_tokens((12, 1, 7, 3))
    prompts = [[*beginning, *end] for end in ends]
    cache = _shared_cache(model, prompts)
    if cache is None:
        return float("inf")
    tokens, mask = left_pad(prompts)
    done = cache.get_seq_length()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits: Tensor = model(
        input_ids=tokens[:, done:],
        attention_mask=mask.long(),
        position_ids=positions[:, done:],
        cache=cache,
        use_cache=True,
    ).logits[:, -1]
    expected = torch.stack([probe.plain_logits(model, prompt)[-1] for prompt in prompts])
    return float((logits.float().log_softmax(-1) - expected.log_softmax(-1)).abs().max())
