"""Sampling of continuations for a batch of token sequences (key-value cache, left padding).

Models like Llama on a CPU are decoded with packed weights, all others by `generate` of `transformers`.

Shapes: B batch, T tokens.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from spiritlm_pl.generation.batches import batches_within, same_rotary_throughout
from spiritlm_pl.generation.logits import AllowOnly, GumbelNoise, allowed_tokens
from spiritlm_pl.generation.packed_decoding import PackedDecoding, cache_fits, decode, packed_model
from spiritlm_pl.generation.prefixes import shared_cache
from spiritlm_pl.generation.prompt import Prompt
from spiritlm_pl.generation.stopping import OwnEnds, Progress, Stops
from spiritlm_pl.generation.turns import CodebooksInTurn
from spiritlm_pl.generation.types import FinishReason, OutputModality
from spiritlm_pl.lm import probe
from spiritlm_pl.lm.likelihood import left_pad
from spiritlm_pl.lm.positions import max_positions
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.vocabulary import Modality, Vocabulary

# Largest number of new tokens by direction (arXiv 2402.05755, appendix D).
TEXT_TOKENS = 50
TEXT_TO_SPEECH_TOKENS = 200
SPEECH_TOKENS = 300
MIN_SPEECH_UNITS = 25
PAPER_RATE = 25.0  # frames a second of the paper's units, Hz: 300 last 12 s, runs not counted


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """Sampling options of continuations. The defaults are those of the paper (appendix D).

    Args:
        temperature: divisor of the logits; higher values give more varied answers.
        top_p: sample only from the likeliest tokens that together have this probability; 1 samples from all.
        top_k: sample only from this number of likeliest tokens; 0 samples from all.
        greedy: whether to take always the likeliest token instead of sampling.
        max_new_tokens: largest number of new tokens of any kind; None for 50 of text, 200 from text to speech, 300
            otherwise, and for other speech tokens than Spirit LM's for the tokens of 8 and of 12 seconds.
        seed: seed of the sampling; sample i of a prompt uses seed + i.
        num_samples: number of continuations of each prompt.
        batch_size: number of sequences that are continued together.
        min_speech_units: smallest number of units, or frames of a codec, of a new stretch of speech with output "any";
            shorter ones are dropped, see `decode_tokens`. None for 25, and for other speech tokens than Spirit LM's for
            the frames of a second.
        stop: texts that end an answer as soon as it holds one of them; the answer keeps it.
        ends_at_change: whether a token that opens another modality ends an answer of text or of speech, as at the next
            example of a prompt with several; else such tokens are banned there. Not for output "any".
    """

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 0
    greedy: bool = False
    max_new_tokens: int | None = None
    seed: int = 0
    num_samples: int = 1
    batch_size: int = 16
    min_speech_units: int | None = None
    stop: tuple[str, ...] = ()
    ends_at_change: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, but is {self.temperature} instead")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], but is {self.top_p} instead")
        for name, lowest in (("top_k", 0), ("seed", 0), ("num_samples", 1), ("batch_size", 1)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}, but is {getattr(self, name)} instead")
        if self.greedy and self.num_samples > 1:
            raise ValueError(f"num_samples must be 1 with greedy, but is {self.num_samples} instead")
        for name, lowest in (("max_new_tokens", 1), ("min_speech_units", 0)):
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, but is {value} instead")
        if isinstance(self.stop, str) or not all(isinstance(text, str) and text for text in self.stop):
            raise ValueError(f"stop must be texts that are not empty, but is {self.stop!r} instead")

    def limit(self, prompt: Modality, output: OutputModality, layout: SpeechLayout) -> int:
        """Return the largest number of new tokens.

        Args:
            prompt: modality in which the prompt ends.
            output: modality that may be generated.
            layout: streams of speech tokens that the model writes.
        """
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        if output == "text":
            return TEXT_TOKENS
        frames = TEXT_TO_SPEECH_TOKENS if output == "speech" and prompt is Modality.TEXT else SPEECH_TOKENS
        return frames_of_paper(frames, layout) * layout.tokens_per_frame

    def fewest_units(self, layout: SpeechLayout) -> int:
        """Return the fewest units, or frames of a codec, with which a stretch of an answer of "any" is kept.

        Args:
            layout: streams of speech tokens that the model writes.
        """
        if self.min_speech_units is not None:
            return self.min_speech_units
        return frames_of_paper(MIN_SPEECH_UNITS, layout)


def frames_of_paper(number: int, layout: SpeechLayout) -> int:
    """Return how many frames of a layout last as long as a number of frames of the paper's units.

    The number itself is returned for layouts of Spirit LM, whose units are counted as the paper does, and for layouts
    without a rate.
    """
    rate = layout.first.rate
    return number if layout.spirit_lm_sizes() is not None or rate is None else math.ceil(number * rate / PAPER_RATE)


def context_length(model: PreTrainedModel) -> int | None:
    """Return the number of tokens in the model's context; None if its configuration does not tell."""
    return max_positions(model.config)


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
) -> LogitsProcessorList:
    allowed = allowed_tokens(vocabulary, output, vocabulary.num_rows, eos_id)
    allowed[list(stops.ids)] = True
    processors = LogitsProcessorList([AllowOnly(allowed)])
    if vocabulary.layout.framewise:
        trained = eos_id is not None and vocabulary.end_of_document is not None
        ends = trained or bool(stops.ids - {eos_id})  # else speech that is forced has no end
        processors.append(CodebooksInTurn(vocabulary, vocabulary.num_rows, output != "speech" or ends, stretches))
    if settings.greedy:
        return processors
    processors.append(TemperatureLogitsWarper(settings.temperature))
    if settings.top_k:
        processors.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        processors.append(TopPLogitsWarper(settings.top_p))
    processors.append(GumbelNoise(list(seeds)))
    return processors


def continue_tokens(
    model: PreTrainedModel,
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
    padded = len(set(map(len, prompts))) < 2 or (
        same_rotary_throughout(model.config, prompts, limits)
        and probe.outcome(model.config, "padded", _padding_difference).right
    )
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


@torch.no_grad()
def _continue_batch(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    processors: LogitsProcessorList,
    stops: Stops,
    synced: bool,
    progress: Progress | None,
    share: bool,
) -> list[list[int]]:
    tokens, attention_mask = left_pad(prompts, model.device)
    cached = same_rotary_throughout(model.config, prompts, limits)
    cache = shared_cache(model, prompts) if share and cached else None
    length, limit = tokens.shape[1], max(limits)
    ends = OwnEnds(length, limits, stops, progress)
    packed = packed_model(model) if cached and not synced else None
    if packed is not None and cache_fits(packed, len(tokens), length + limit):
        decoding = PackedDecoding(model, packed, attention_mask, limit - 1, cast(AllowOnly, processors[0]).mask, cache)
        generated = decode(decoding, tokens, processors, ends)
        return [stops.until(row[:most]) for row, most in zip(generated.tolist(), limits, strict=True)]
    config = GenerationConfig(
        max_new_tokens=limit,
        do_sample=False,
        num_beams=1,
        use_cache=cached,
        pad_token_id=0,
        eos_token_id=sorted(stops.ids) or None,
    )
    with _without_defaults(model):
        generated = cast(Any, model).generate(
            tokens,
            attention_mask=attention_mask.long(),
            generation_config=config,
            logits_processor=processors,
            stopping_criteria=StoppingCriteriaList([ends]),
            synced_gpus=synced,
            **({} if cache is None else {"cache": cache}),
        )
    rows = zip(generated[:, length:].tolist(), limits, strict=True)
    return [stops.until(row[:limit]) for row, limit in rows]


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
    model: PreTrainedModel,
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
    cached = same_rotary_throughout(model.config, [prompt.tokens], [limit])
    cached = cached and probe.outcome(model.config, "cache", _cache_difference).right
    cache, new = DynamicCache(config=model.config) if cached else None, tokens
    decoding: PackedDecoding | None = None
    packed = packed_model(model) if cached else None
    if packed is not None and cache_fits(packed, 1, tokens.shape[1] + limit):
        mask = torch.ones_like(tokens, dtype=torch.bool)
        decoding = PackedDecoding(model, packed, mask, limit - 1, cast(AllowOnly, processors[0]).mask)
    for _ in range(limit):
        if stopped is not None and stopped():
            return
        logits = decoding(tokens) if decoding else _last_logits(model, new if cached else tokens, cache)
        scores = processors(cast(torch.LongTensor, tokens), logits.float())
        new = scores.argmax(-1, keepdim=True)
        yield int(new)
        tokens = torch.cat([tokens, new], 1)
        if stops.finished(tokens[0, len(prompt.tokens) :].tolist())[1] == "stop":
            return


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
