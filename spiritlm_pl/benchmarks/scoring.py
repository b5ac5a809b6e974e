"""Scores of the hypotheses of an item, in every way of counting that published figures use.

Shapes: W ways of counting (the whole vocabulary; speech tokens alone), C tokens of a context, K tokens of a hypothesis,
V entries of the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from spiritlm_pl.benchmarks.items import ChoiceItem, ChoiceLine
from spiritlm_pl.generation.sampling import context_length
from spiritlm_pl.generation.scoring import common_beginning
from spiritlm_pl.generation.types import OutputModality, Piece, Text
from spiritlm_pl.lm.likelihood import Branches, token_log_likelihoods
from spiritlm_pl.streams import UNIT
from spiritlm_pl.vocabulary import Modality

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM

VARIANTS = {
    "sum": "log-likelihood of the hypothesis",
    "mean": "log-likelihood per token of the hypothesis",
    "whole_mean": "log-likelihood per token of context and hypothesis",
    "masked_sum": "log-likelihood of the hypothesis among speech tokens alone",
    "masked_mean": "log-likelihood per token of the hypothesis among speech tokens alone",
    "masked_whole_mean": "log-likelihood per token of context and hypothesis among speech tokens alone",
    "units_sum": "log-likelihood of the phonetic units of the hypothesis, in the stream of all tokens",
    "units_mean": "log-likelihood per phonetic unit of the hypothesis, in the stream of all tokens",
    "sum_end": "log-likelihood of the hypothesis and the end of the document",
    "mean_end": "log-likelihood per token of the hypothesis and the end of the document",
    "whole_mean_end": "log-likelihood per token of context, hypothesis and the end of the document",
}
MODALITIES: dict[Modality, OutputModality] = {Modality.TEXT: "text", Modality.SPEECH: "speech"}


@dataclass(frozen=True)
class EncodedItem:
    """Item as token ids.

    Attributes:
        item: item that was encoded.
        wholes: token ids of context and hypothesis, for the right and for the wrong one.
        starts: place of the first token of each hypothesis in its `wholes`.
        opening: number of tokens at the beginning that are never scored: those before the first word or unit, or that
            unit itself where nothing stands before it.
        shared: number of tokens at the beginning that both have in common, and that are computed once; 0 where nothing
            stands before two hypotheses of different first units.
    """

    item: ChoiceItem
    wholes: tuple[list[int], list[int]]
    starts: tuple[int, int]
    opening: int
    shared: int

    @property
    def num_tokens(self) -> int:
        """Number of tokens of the longer hypothesis with its context."""
        return max(map(len, self.wholes))


def modality_of(pieces: Sequence[Piece]) -> Modality:
    """Return the modality of pieces of one kind.

    Raises:
        ValueError: if there are none, or some are text and some are speech.
    """
    found = {isinstance(piece, Text) for piece in pieces}
    if len(found) != 1:
        kinds = "both" if found else "none"
        raise ValueError(f"a hypothesis must be pieces of text or pieces of speech, but has {kinds}")
    return Modality.TEXT if found.pop() else Modality.SPEECH


class ChoiceScorer:
    """Scorer of items with a language model.

    Args:
        model: model whose speech tokenizer, if speech is not given as tokens, reads the audio.
        batch_tokens: largest number of tokens in a batch, padding included.
    """

    def __init__(self, model: "SpiritLM", batch_tokens: int = 4096) -> None:
        """Keep the model."""
        self.model, self.batch_tokens, self.vocabulary = model, batch_tokens, model.vocabulary

    @cached_property
    def speech_tokens(self) -> Tensor:
        """Tokens (V,) of speech, as a mask, True = speech."""
        first, end = self.vocabulary.speech_bounds
        # Not the rows of the output layer, which are elsewhere where parameters are sharded.
        found = torch.zeros(self.model.model.config.get_text_config().vocab_size, dtype=torch.bool)
        found[first:end] = True
        return found

    def encode(self, item: ChoiceItem) -> EncodedItem:
        """Encode an item; a modality token at a change belongs to the context, as it says what is asked for.

        Raises:
            ValueError: if a hypothesis adds no token to its context, both are of other modalities, or context and
                hypothesis are longer than the model's context.
        """
        modality = modality_of(item.right)
        if modality_of(item.wrong) is not modality:
            raise ValueError("both hypotheses must be text or both speech, but one is text and one is speech")
        opener = [*self.model.text_tokenizer.opening, *self.vocabulary.opening]
        if item.context:
            before = self.model.encode_prompt(item.context, MODALITIES[modality], closed=True).tokens
        else:
            before = [*opener, *self.vocabulary.opened(modality)]
        right, wrong = (
            self.model.encode_prompt([*item.context, *self._apart(item.context, one)], closed=True).tokens
            for one in (item.right, item.wrong)
        )
        # Nothing predicts the first token of all, which is a unit where nothing stands before it.
        first = max(1, len(opener) + len(self.vocabulary.opened(Modality.SPEECH)))
        starts = (max(1, common_beginning(before, right)), max(1, common_beginning(before, wrong)))
        most = context_length(self.model.model)
        for name, tokens, start in zip(item.names, (right, wrong), starts, strict=True):
            if len(tokens) <= start and not before:
                raise ValueError(f"a hypothesis must have two units where nothing stands before it, but {name} has one")
            if len(tokens) <= start:
                raise ValueError(f"a hypothesis must add tokens to its context, but {name} does not")
            if most is not None and len(tokens) > most:
                raise ValueError(
                    f"context and hypothesis must have at most {most} tokens, but {name} has {len(tokens)}"
                )
        shared = (
            len(right) - 1 if right == wrong else min(common_beginning(right, wrong), len(right) - 1, len(wrong) - 1)
        )
        return EncodedItem(item, (right, wrong), starts, first, shared)

    def _apart(self, context: Sequence[Piece], hypothesis: Sequence[Piece]) -> Sequence[Piece]:
        """Put a space before a text that follows a text, where the tokenizer joins texts without one (as published)."""
        first, last = hypothesis[0], context[-1] if context else None
        if not isinstance(first, Text) or not isinstance(last, Text) or self.model.text_tokenizer.joint:
            return hypothesis
        if last.text[-1:].isspace() or first.text[:1].isspace():
            return hypothesis
        return [Text(f" {first.text}"), *hypothesis[1:]]

    def score(self, encoded: Sequence[EncodedItem]) -> list[ChoiceLine]:
        """Score items together, each as it would be scored alone."""
        end = self.vocabulary.end_of_document
        tail = [] if end is None else [end]
        groups = [_branches(one, tail) for one in encoded]
        branches = [branch for group in groups for branch in group]
        found = iter(token_log_likelihoods(self.model.model, branches, self.batch_tokens, self.speech_tokens))
        lines = []
        for one, group in zip(encoded, groups, strict=True):
            scored = [next(found) for _ in group]
            values = [torch.cat([part.context, own], 1).double() for part in scored for own in part.continuations]
            ways = [self._ways(one, which, values[min(which, len(values) - 1)], bool(tail)) for which in range(2)]
            pairs = {name: (ways[0][name], ways[1][name]) for name in ways[0] if name in ways[1]}
            counts = tuple(len(tokens) - start for tokens, start in zip(one.wholes, one.starts, strict=True))
            item = one.item
            lines.append(ChoiceLine(item.id, item.names, item.labels, pairs, cast("tuple[int, int]", counts)))
        return lines

    def _ways(self, one: EncodedItem, which: int, values: Tensor, ended: bool) -> dict[str, float]:
        """Return the scores of a hypothesis, from values (W, C + K - 1) of all of its tokens but the first."""
        tokens, start = one.wholes[which], one.starts[which]
        own = values[:, start - 1 : len(tokens) - 1]
        whole = values[:, one.opening - 1 : len(tokens) - 1]
        found = {"sum": own[0].sum(), "mean": own[0].mean(), "whole_mean": whole[0].mean()}
        if modality_of(one.item.right) is Modality.SPEECH:
            found |= {"masked_sum": own[1].sum(), "masked_mean": own[1].mean()}
            if bool(whole[1].isfinite().all()):  # the context is speech, too
                found["masked_whole_mean"] = whole[1].mean()
            if self.vocabulary.layout.phonetic and len(self.vocabulary.streams) > 1:
                units = own[0][self._are_units(tokens[start:])]
                if len(units):
                    found |= {"units_sum": units.sum(), "units_mean": units.mean()}
        if ended:
            with_end = values[0, start - 1 :]
            found |= {"sum_end": with_end.sum(), "mean_end": with_end.mean()}
            found["whole_mean_end"] = values[0, one.opening - 1 :].mean()
        return {name: float(value) for name, value in found.items()}

    def _are_units(self, tokens: Sequence[int]) -> Tensor:
        first, end = self.vocabulary.bounds(UNIT)
        found = torch.tensor(tokens)
        return (found >= first) & (found < end)


def _branches(one: EncodedItem, tail: Sequence[int]) -> list[Branches]:
    """Return what both hypotheses share with what each of them adds; or each with its first token before it."""
    if not one.shared:
        return [(tokens[:1], [[*tokens[1:], *tail]]) for tokens in one.wholes]
    right, wrong = ([*tokens[one.shared :], *tail] for tokens in one.wholes)
    # Equal hypotheses are scored once, since rounding could tell them apart.
    return [(one.wholes[0][: one.shared], [right] if right == wrong else [right, wrong])]
