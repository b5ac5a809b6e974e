"""Sampling of continuations for a batch of token sequences (key-value cache, left padding).

Models like Llama on a CPU are decoded with packed weights, all others by `generate` of `transformers`: see
`spiritlm_pl.generation.network_decoding`, which is imported only for a model of `transformers`.

Shapes: B batch, T tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, Union

import torch
from torch import Tensor

from spiritlm_pl.generation.batches import batches_within
from spiritlm_pl.generation.logits import AllowOnly, GumbelNoise, Processors, Temperature, TopK, TopP, allowed_tokens
from spiritlm_pl.generation.own_model import OwnModel
from spiritlm_pl.generation.packed_decoding import decode
from spiritlm_pl.generation.prompt import Prompt
from spiritlm_pl.generation.settings import GenerationSettings
from spiritlm_pl.generation.stopping import OwnEnds, Progress, Stops
from spiritlm_pl.generation.turns import CodebooksInTurn
from spiritlm_pl.generation.types import FinishReason, OutputModality
from spiritlm_pl.lm.padding import left_pad
from spiritlm_pl.lm.positions import max_positions
from spiritlm_pl.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AnyModel: TypeAlias = Union["PreTrainedModel", OwnModel]


def context_length(model: AnyModel) -> int | None:
    """Return the number of tokens in the model's context; None if its configuration does not tell."""
    return model.config.max_position_embeddings if isinstance(model, OwnModel) else max_positions(model.config)


def check_room(length: int, context: int) -> None:
    """Raise a ValueError if a prompt of some length leaves no room in the model's context."""
    if length >= context:
        raise ValueError(
            f"prompt must be shorter than the model's context of {context} tokens, but has {length} tokens instead"
        )


def _processors(
    vocabulary: Vocabulary,
    output: OutputModality,
    eos_id: int | None,
    settings: GenerationSettings,
    seeds: Sequence[int],
    stretches: Sequence[Sequence[int]] | None,
    stops: Stops,
) -> Processors:
    allowed = allowed_tokens(vocabulary, output, vocabulary.num_rows, eos_id)
    allowed[list(stops.ids)] = True
    processors = Processors([AllowOnly(allowed)])
    if vocabulary.layout.framewise:
        trained = eos_id is not None and vocabulary.end_of_document is not None
        ends = trained or bool(stops.ids - {eos_id})  # else speech that is forced has no end
        processors.append(CodebooksInTurn(vocabulary, vocabulary.num_rows, output != "speech" or ends, stretches))
    if settings.greedy:
        return processors
    processors.append(Temperature(settings.temperature))
    if settings.top_k:
        processors.append(TopK(settings.top_k))
    if settings.top_p < 1:
        processors.append(TopP(settings.top_p))
    processors.append(GumbelNoise(list(seeds)))
    return processors


def continue_tokens(
    model: AnyModel,
    prompts: Sequence[Sequence[int]],
    vocabulary: Vocabulary,
    output: OutputModality,
    settings: GenerationSettings,
    *,
    limits: Sequence[int],
    seeds: Sequence[int],
    eos_id: int | None = None,
    synced: bool = False,
    progress: Progress | None = None,
    stretches: Sequence[Sequence[int]] | None = None,
    stops: Stops | None = None,
    share_beginning: bool = False,
) -> list[list[int]]:
    """Continue prompts; the continuation of one does not depend on the others.

    Args:
        model: causal language model in evaluation mode.
        prompts: B sequences of token ids, none of them empty.
        vocabulary: layout of the token ids.
        output: modality that is allowed in the continuations.
        settings: sampling options of all prompts.
        limits: largest number of new tokens of each prompt; the model's context may leave room for fewer.
        seeds: seed of the sampling of each prompt.
        eos_id: id that ends a sequence in any modality; None if no id does.
        synced: whether every rank continues until all are done, which sharded parameters (ZeRO-3) need.
        progress: function called after every token of a batch with the number of tokens done and the largest number;
            None for none.
        stretches: whole stretch of speech at the end of each prompt (`Prompt.stretch`), which the prompt holds up to
            its closing steps; None if they are not known.
        stops: what else ends a sequence; None for nothing.
        share_beginning: whether what all prompts of a batch begin with is computed once, where the model allows it.

    Returns:
        B lists of new token ids; the last id is `eos_id` if the model has ended by itself (see `finished`), or one of
        `stops`.

    Raises:
        ValueError: if a prompt leaves no room in the model's context.
    """
    stops = with_end(stops, eos_id)
    context = context_length(model)
    if context is not None:
        longest = max((len(prompt) for prompt in prompts), default=0)
        check_room(longest, context)
        limits = [min(limit, context - len(prompt)) for prompt, limit in zip(prompts, limits, strict=True)]
    continued: list[list[int]] = []
    padded = len(set(map(len, prompts))) < 2 or _may_pad(model, prompts, limits)
    for rows in batches_within(context, prompts, limits, settings.batch_size, padded):
        ends = None if stretches is None else stretches[rows]
        processors = _processors(vocabulary, output, eos_id, settings, seeds[rows], ends, stops)
        share = share_beginning and not synced  # each rank of sharded parameters calls the model equally often
        continued += _continue_batch(model, prompts[rows], limits[rows], processors, stops, synced, progress, share)
    return continued


def with_end(stops: Stops | None, eos_id: int | None) -> Stops:
    """Return what ends an answer together with the id that ends a sequence.

    Args:
        stops: what else ends an answer; None for nothing.
        eos_id: id that ends a sequence; None if no id does.
    """
    stops = stops or Stops()
    return stops if eos_id is None else replace(stops, ids=stops.ids | {eos_id})


def _may_pad(model: AnyModel, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> bool:
    """Whether prompts of different lengths may be padded, and continued together."""
    if isinstance(model, OwnModel):
        return True
    from spiritlm_pl.generation import network_decoding

    return network_decoding.may_pad(model, prompts, limits)


@torch.no_grad()
def _continue_batch(
    model: AnyModel,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    processors: Processors,
    stops: Stops,
    synced: bool,
    progress: Progress | None,
    share: bool,
) -> list[list[int]]:
    tokens, mask = left_pad(prompts, model.device)
    ends = OwnEnds(tokens.shape[1], limits, stops, progress)
    if isinstance(model, OwnModel):
        generated = decode(model.decoding(mask, max(limits) - 1, _allowed(processors)), tokens, processors, ends)
    else:
        from spiritlm_pl.generation import network_decoding

        generated = network_decoding.continued(model, prompts, limits, tokens, mask, processors, ends, synced, share)
    return [stops.until(row[:limit]) for row, limit in zip(generated.tolist(), limits, strict=True)]


def _allowed(processors: Processors) -> Tensor:
    """Return the mask (V,) of the tokens that processors of `_processors` allow."""
    first = processors[0]
    assert isinstance(first, AllowOnly)
    return first.mask


def finished(tokens: Sequence[int], eos_id: int | None, stops: Stops | None = None) -> tuple[list[int], FinishReason]:
    """Return new tokens without the end of the sequence, and whether it was there.

    Args:
        tokens: new tokens that `continue_tokens` returned, or all those of `stream_tokens`.
        eos_id: id that ends a sequence, as given to that function; None if no id does.
        stops: what else ends a sequence, as given to that function; None for nothing.
    """
    return with_end(stops, eos_id).finished(tokens)


@torch.no_grad()
def stream_tokens(
    model: AnyModel,
    prompt: Prompt,
    vocabulary: Vocabulary,
    output: OutputModality,
    settings: GenerationSettings,
    eos_id: int | None = None,
    stops: Stops | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Iterator[int]:
    """Yield the tokens that `continue_tokens` returns for one prompt, one by one, including the end of the sequence.

    No more are computed once `stopped`, which is called before each, returns True.

    Raises:
        ValueError: if the prompt leaves no room in the model's context.
    """
    limit = settings.limit(prompt.last, output, vocabulary.layout)
    room = context_length(model)
    if room is not None:
        check_room(len(prompt.tokens), room)
        limit = min(limit, room - len(prompt.tokens))
    stops = with_end(stops, eos_id)
    processors = _processors(vocabulary, output, eos_id, settings, [settings.seed], [prompt.stretch], stops)
    tokens = torch.tensor([prompt.tokens], device=model.device)
    if isinstance(model, OwnModel):
        following: Callable[[Tensor], Tensor] = model.decoding(
            torch.ones_like(tokens, dtype=torch.bool), limit - 1, _allowed(processors)
        )
    else:
        from spiritlm_pl.generation import network_decoding

        following = network_decoding.following(model, tokens, limit, _allowed(processors))
    for _ in range(limit):
        if stopped is not None and stopped():
            return
        new = processors(tokens, following(tokens)).argmax(-1, keepdim=True)
        yield int(new)
        tokens = torch.cat([tokens, new], 1)
        if stops.finished(tokens[0, len(prompt.tokens) :].tolist())[1] == "stop":
            return
