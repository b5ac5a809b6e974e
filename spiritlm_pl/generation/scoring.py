"""Log-likelihoods of hypotheses after a context; both may be text, speech, or a mix of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spiritlm_pl.generation.prompt import PromptEncoder, Prompting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class EncodedChoice:
    """Token ids of a context and of its hypotheses.

    Attributes:
        context: token ids that all hypotheses share.
        continuations: token ids that each hypothesis adds.
        unscored: number of tokens at the beginning of each continuation that belong to the context and are not scored.
    """

    context: list[int]
    continuations: list[list[int]]
    unscored: list[int]


@dataclass(frozen=True)
class Score:
    """Log-likelihood of a hypothesis.

    Attributes:
        total: log-likelihood summed over the tokens, in nats.
        num_tokens: number of tokens that are scored.
    """

    total: float
    num_tokens: int

    @property
    def mean(self) -> float:
        """Mean log-likelihood per token, in nats."""
        return self.total / self.num_tokens


def encode_choice(
    encoder: PromptEncoder,
    context: Prompting,
    hypotheses: Sequence[Prompting],
    most: int | None,
    ends: Sequence[bool] = (),
) -> EncodedChoice:
    """Encode a context with its hypotheses, and return what each hypothesis adds to it.

    Args:
        encoder: encoder of the model's prompts.
        context: prompt of text and speech, as pieces or a string of words and tokens; or turns.
        hypotheses: prompts that may follow the context: strings if it is a string, else pieces; answers of the
            assistant, strings or pieces, where a template asks.
        most: largest number of tokens of context and hypothesis together; None for any number.
        ends: whether what closes each hypothesis, such as the end token, belongs to it; empty for none.

    Raises:
        ValueError: if the context or the list of hypotheses is empty, a hypothesis adds no token, or both are longer
            than the model's context.
    """
    if not hypotheses:
        raise ValueError("hypotheses must hold at least one, but are empty instead")
    before = encoder.encode(context, closed=True).tokens
    encoded = [encoder.encode_answer(context, one) for one in hypotheses]
    whole = [tokens for tokens, _ in encoded]
    # Shorter than the context if a text token spans its end, or a stretch of delayed codebooks.
    own = [common_beginning(before, tokens) for tokens in whole]
    for hypothesis, tokens, shared in zip(hypotheses, whole, own, strict=True):
        if len(tokens) <= shared:
            raise ValueError(f"hypotheses must add tokens to their context, but {hypothesis!r} does not")
        if most is not None and len(tokens) > most:
            raise ValueError(f"context and hypothesis must have at most {most} tokens, but have {len(tokens)}")
    if ends:
        whole = [[*tokens, *closing] if end else tokens for (tokens, closing), end in zip(encoded, ends, strict=True)]
    shared = min(own, default=len(before))
    return EncodedChoice(before[:shared], [tokens[shared:] for tokens in whole], [one - shared for one in own])


def scores(model: "PreTrainedModel", encoded: Sequence[EncodedChoice], batch_tokens: int) -> list[list[Score]]:
    """Score the hypotheses of each item; each context is computed once."""
    from spiritlm_pl.lm.likelihood import choice_log_likelihoods  # with transformers, which generating may do without

    items = [(one.context, one.continuations, one.unscored) for one in encoded]
    found = choice_log_likelihoods(model, items, batch_tokens)
    return [
        [
            Score(total, len(tokens) - unscored)
            for total, tokens, unscored in zip(totals.tolist(), one.continuations, one.unscored, strict=True)
        ]
        for totals, one in zip(found, encoded, strict=True)
    ]


def common_beginning(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the beginning that two sequences share."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
