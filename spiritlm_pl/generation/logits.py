"""Logits processors that ban tokens and add sampling noise, as `generate` of `transformers` takes them.

Sampling is done by adding Gumbel noise and taking the largest score (Gumbel, 1954): with a separate noise stream for
every sequence, a continuation does not depend on the rest of the batch, and the global random state, which training
uses, stays unchanged.

Shapes: B batch, T tokens so far, V rows of the embedding.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from spiritlm_pl.generation.types import OUTPUT_MODALITIES, OutputModality
from spiritlm_pl.vocabulary import Vocabulary

Processor = Callable[[Tensor, Tensor], Tensor]  # from tokens (B, T) and scores (B, V) to scores (B, V)


class Processors(list[Processor]):
    """Logits processors that are applied one after the other."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores (B, V) that the last one returns."""
        for processor in self:
            scores = processor(input_ids, scores)
        return scores


def allowed_tokens(vocabulary: Vocabulary, output: OutputModality, num_rows: int, eos_id: int | None = None) -> Tensor:
    """Return a mask (V,) of the tokens that may be generated (True).

    Forced text bans all speech and modality tokens, forced speech all text and modality tokens; the end of
    the sequence stays allowed. Rows that only pad the embedding are always banned.

    Raises:
        ValueError: if the output modality is unknown, or text of a model of speech alone.
    """
    if output not in OUTPUT_MODALITIES:
        raise ValueError(f"output must be one of {', '.join(OUTPUT_MODALITIES)}, but is {output!r} instead")
    if output == "text" and vocabulary.speech_alone:
        raise ValueError("output must be speech of a language model of speech alone, but is 'text' instead")
    mask = torch.zeros(num_rows, dtype=torch.bool)
    if output == "any" and not vocabulary.speech_alone:
        mask[: vocabulary.num_tokens] = True
    elif output == "text":
        mask[: vocabulary.num_text] = True
    else:
        first, end = vocabulary.speech_bounds
        mask[first:end] = True
    if eos_id is not None:
        mask[eos_id] = True
    return mask


class AllowOnly:
    """Logits processor that bans every token outside a mask.

    Args:
        mask: (V,) boolean mask of the embedding's rows, True for allowed tokens.
    """

    def __init__(self, mask: Tensor) -> None:
        """Keep the mask."""
        self.mask = mask

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores (B, V) with -inf for banned tokens."""
        if self.mask.device != scores.device:  # once, not at every token
            self.mask = self.mask.to(scores.device)
        return scores.masked_fill(~self.mask, -torch.inf)


class Temperature:
    """Logits processor that divides all scores.

    Args:
        temperature: divisor, above 0.
    """

    def __init__(self, temperature: float) -> None:
        """Keep the divisor."""
        self.temperature = temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the divided scores (B, V)."""
        return scores / self.temperature


class TopK:
    """Logits processor that bans all tokens but the likeliest ones (arXiv 1805.04833).

    Args:
        number: number of tokens that stay, and others that are as likely as the last of them.
    """

    def __init__(self, number: int) -> None:
        """Keep the number."""
        self.number = number

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores (B, V) with -inf for banned tokens."""
        least = scores.topk(min(self.number, scores.shape[-1])).values[:, -1:]
        return scores.masked_fill(scores < least, -torch.inf)


class TopP:
    """Logits processor that bans the least likely tokens that together have a small probability (arXiv 1904.09751).

    Args:
        probability: the tokens that are banned have at most 1 less this together; the likeliest token stays.
    """

    def __init__(self, probability: float) -> None:
        """Keep the probability."""
        self.probability = probability

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores (B, V) with -inf for banned tokens."""
        ascending, order = scores.sort()
        banned = ascending.softmax(-1).cumsum(-1) <= 1 - self.probability
        banned[:, -1] = False
        return scores.masked_fill(banned.scatter(1, order, banned), -torch.inf)


class GumbelNoise:
    """Logits processor that makes the largest score a sample of the softmax, with one random stream per sequence.

    Args:
        seeds: seed of the random stream of each sequence in the batch.
    """

    def __init__(self, seeds: list[int]) -> None:
        """Open one random stream per sequence."""
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores (B, V) plus noise."""
        assert len(scores) == len(self.generators)
        exponential = torch.stack(
            [torch.empty(scores.shape[1]).exponential_(generator=generator) for generator in self.generators]
        )
        return scores.float() - exponential.log().to(scores.device)
