"""How likely is a hypothesis after a context? Both may be words, speech, or a mix of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from transformers import PreTrainedModel

from spiritlm_pl.generation.prompt import PromptEncoder, Prompting
from spiritlm_pl.generation.types import Piece
from spiritlm_pl.lm.likelihood import choice_log_likelihoods


@dataclass(frozen=True)
class EncodedChoice:
    """Token ids of a context and of its hypotheses.

    Attributes:
        context: what all share.
        continuations: what follows, of each hypothesis.
        unscored: tokens at the beginning of each that belong to the context.
    """

    context: list[int]
    continuations: list[list[int]]
    unscored: list[int]


@dataclass(frozen=True)
class Score:
    """Log-likelihood of a hypothesis.

    Attributes:
        total: summed over its tokens, nats.
        num_tokens: how many.
    """

    total: float
    num_tokens: int

    @property
    def mean(self) -> float:
        """A token."""
        return self.total / self.num_tokens


def encode_choice(
    encoder: PromptEncoder, context: Prompting, hypotheses: Sequence[Prompting], most: int | None
) -> EncodedChoice:
    """Token ids of a context and of what each hypothesis adds to it, encoded together.

    Args:
        encoder: of prompts.
        context: words and speech.
        hypotheses: of the same kind, strings or pieces, as the context.
        most: tokens of both, at most; None for any number.

    Raises:
        ValueError: if the context or the list of hypotheses is empty, a hypothesis adds no token, or both are longer
            than the model's context.
    """
    if not hypotheses:
        raise ValueError("hypotheses must hold at least one, but are empty instead")
    before = encoder.encode(context).tokens
    whole = [encoder.encode(_joined(context, one)).tokens for one in hypotheses]
    own = [_common(before, tokens) for tokens in whole]  # less than the context where a piece goes across its end
    for hypothesis, tokens, shared in zip(hypotheses, whole, own, strict=True):
        if len(tokens) <= shared:
            raise ValueError(f"hypotheses must add tokens to their context, but {hypothesis!r} does not")
        if most is not None and len(tokens) > most:
            raise ValueError(f"context and hypothesis must have at most {most} tokens, but have {len(tokens)}")
    shared = min(own, default=len(before))
    return EncodedChoice(before[:shared], [tokens[shared:] for tokens in whole], [one - shared for one in own])


def scores(model: PreTrainedModel, encoded: Sequence[EncodedChoice], batch_tokens: int) -> list[list[Score]]:
    """Scores of the hypotheses of each item; contexts are computed once."""
    items = [(one.context, one.continuations, one.unscored) for one in encoded]
    found = choice_log_likelihoods(model, items, batch_tokens)
    return [
        [
            Score(total, len(tokens) - unscored)
            for total, tokens, unscored in zip(totals.tolist(), one.continuations, one.unscored, strict=True)
        ]
        for totals, one in zip(found, encoded, strict=True)
    ]


def _joined(context: Prompting, hypothesis: Prompting) -> Prompting:
    """Both as one prompt.

    Raises:
        ValueError: if one is a string of tokens and the other is not.
    """
    if isinstance(context, str) != isinstance(hypothesis, str):
        raise ValueError("context and hypotheses must both be strings or both be pieces, but are of both kinds")
    if isinstance(context, str):
        return context + cast(str, hypothesis)
    return [*context, *cast("Sequence[Piece]", hypothesis)]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the beginning that two sequences share."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
