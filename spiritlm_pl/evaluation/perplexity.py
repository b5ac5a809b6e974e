"""Perplexity of texts under language models, to see what a model of text has kept after it has learnt speech.

Figures per token compare models of one text tokenizer; nats per word compare any. The first model is the one that all
others are compared with, on the documents that every model can score. What is scored is a document after its first
word, which stands before it for every model: some models have a token that begins a text, and others cannot score the
first token of a text.

A figure is doubted if fewer than `FEWEST_TOKENS` tokens were scored, or if more than `MOST_UNKNOWN` of the tokens stand
for what the text tokenizer has no tokens for: then it tells how well bytes or unknown tokens are guessed, not words.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spiritlm_pl.evaluation.interval import Estimate, ratio_estimate
from spiritlm_pl.evaluation.tables import Figures, cell
from spiritlm_pl.evaluation.text_likelihood import TextLikelihood

FEWEST_TOKENS = 100  # losses of tokens spread by some 3 nats, so that their mean is known within 0.6 nats
MOST_UNKNOWN = 0.05


@dataclass(frozen=True)
class TextPerplexity:
    """Perplexity of one model on the documents that all models can score.

    Attributes:
        per_token: exp of the mean loss of a token, with its interval over documents.
        nats_per_word: sum of the losses divided by the number of words (between spaces) that they are of.
        change: nats per word more than the first model's, on the same documents; None for the first model.
        documents: number of documents.
        tokens: number of tokens that were scored.
        words: number of words that were scored: all of a document but the first.
        unknown: share of the documents' tokens that stand for what the text tokenizer has no tokens for.
    """

    per_token: Estimate
    nats_per_word: Estimate
    change: Estimate | None
    documents: int
    tokens: int
    words: int
    unknown: float

    @property
    def doubt(self) -> str | None:
        """Why the figures cannot be trusted, in words; None if they can."""
        if self.tokens < FEWEST_TOKENS:
            return f"only {self.tokens} tokens were scored; fewer than {FEWEST_TOKENS} tell little"
        if self.unknown > MOST_UNKNOWN:
            share = f"{self.unknown:.0%} of its tokens are bytes or unknown"
            return f"the text tokenizer has no tokens for much of the text: {share}"
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        change = None if self.change is None else self.change.to_dict()
        counts = {"documents": self.documents, "tokens": self.tokens, "words": self.words}
        return {
            "per_token": self.per_token.to_dict(),
            "nats_per_word": self.nats_per_word.to_dict(),
            "change": change,
            **counts,
            "unknown": round(self.unknown, 4),
            "doubt": self.doubt,
        }


def text_perplexity(
    models: Mapping[str, TextLikelihood], texts: Sequence[str], batch_tokens: int = 4096
) -> tuple[dict[str, TextPerplexity], list[str]]:
    """Measure the perplexity of texts under each model, each text given its first word.

    Args:
        models: models by name; the first one is what the others are compared with.
        texts: documents.
        batch_tokens: largest number of tokens in a batch, padding included.

    Returns:
        The figures by model, and for each document that a model cannot score the reason of the first such model.

    Raises:
        ValueError: if no document can be scored by all models.
    """
    pairs = [(_first_word(text), text) for text in texts]
    found = {name: model.losses(pairs, batch_tokens) for name, model in models.items()}
    reasons: list[str] = []
    kept: list[int] = []
    for place in range(len(texts)):
        outcomes = [losses[place] for losses in found.values()]
        faults = [str(one) for one in outcomes if isinstance(one, ValueError)]
        if faults:
            reasons.append(faults[0])
        elif all(not isinstance(one, ValueError) and one[1] > 0 for one in outcomes) and _words_after(texts[place]) > 0:
            kept.append(place)
        else:
            reasons.append("a text must have a word and a token to score after its first word, but has none")
    if not kept:
        raise ValueError(
            f"text must hold documents that can be scored, but all {len(texts)} were skipped ({reasons[0]})"
        )
    words = [float(_words_after(texts[place])) for place in kept]
    sums = {name: [_scored(losses[place]) for place in kept] for name, losses in found.items()}
    first = [loss for loss, _ in next(iter(sums.values()))]
    results = {}
    for index, (name, scored) in enumerate(sums.items()):
        losses, tokens = [loss for loss, _ in scored], [float(count) for _, count in scored]
        more = [own - other for own, other in zip(losses, first, strict=True)]
        results[name] = TextPerplexity(
            _estimate(losses, tokens, np.exp),
            _estimate(losses, words),
            None if index == 0 else _estimate(more, words),
            len(kept),
            int(sum(tokens)),
            int(sum(words)),
            models[name].unknown_share([texts[place] for place in kept]),
        )
    return results, reasons


def _first_word(text: str) -> str:
    """Return a text up to the end of its first word."""
    found = re.match(r"\s*\S+", text)
    return found.group() if found else ""


def _words_after(text: str) -> int:
    """Return the number of words after the first one; -1 for a text without words."""
    return len(text.split()) - 1


def _scored(outcome: tuple[float, int] | ValueError) -> tuple[float, int]:
    assert not isinstance(outcome, ValueError)
    return outcome


def _estimate(above: Sequence[float], below: Sequence[float], through: Any = None) -> Estimate:
    estimate = ratio_estimate(above, below, through=through)
    assert estimate is not None and math.isfinite(estimate.value)
    return estimate


def doubts(results: Mapping[str, TextPerplexity]) -> list[str]:
    """Return a line for each model whose figures cannot be trusted."""
    return [f"The figures of {name} cannot be trusted: {one.doubt}." for name, one in results.items() if one.doubt]


def perplexity_table(results: Mapping[str, TextPerplexity], title: str) -> Figures:
    """Return the figures of `text_perplexity` as a table."""
    columns = ["model", "perplexity per token", "nats per word", "nats per word more than the first"]
    rows = [
        [name, cell(one.per_token, ".2f"), cell(one.nats_per_word, ".3f"), cell(one.change, "+.3f")]
        for name, one in results.items()
    ]
    one = next(iter(results.values()))
    notes = [
        f"{one.documents:,} documents, {one.words:,} words after the first of each; 95 % intervals over documents. "
        "A change is measured on the same documents, so that its interval is narrower than those of both models."
    ]
    return Figures(title, columns, rows, [*notes, *doubts(results)])
