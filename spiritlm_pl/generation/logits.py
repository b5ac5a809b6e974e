"""What may follow, and the chance in it.

Sampling is done by adding Gumbel noise and taking the largest score (Gumbel, 1954): with a noise stream of
its own for every sequence, what a prompt gets does not depend on what else is in the batch, and the global
random state, which training needs, is left alone.

Shapes: B batch, T tokens so far, V rows of the embedding.
"""

import torch
from torch import Tensor
from transformers import LogitsProcessor

from spiritlm_pl.generation.types import OUTPUT_MODALITIES, OutputModality
from spiritlm_pl.vocabulary import Vocabulary


def allowed_tokens(vocabulary: Vocabulary, output: OutputModality, num_rows: int, eos_id: int | None = None) -> Tensor:
    """Mask (V,), True = may be generated.

    Forced text bans all speech and modality tokens, forced speech all text and modality tokens; the end of
    the sequence stays allowed. Rows that only pad the embedding never mean anything.

    Raises:
        ValueError: if the output modality is unknown.
    """
    if output not in OUTPUT_MODALITIES:
        raise ValueError(f"output must be one of {', '.join(OUTPUT_MODALITIES)}, but is {output!r} instead")
    mask = torch.zeros(num_rows, dtype=torch.bool)
    if output == "any":
        mask[: vocabulary.num_tokens] = True
    elif output == "text":
        mask[: vocabulary.num_text] = True
    else:
        first, end = vocabulary.speech_bounds
        mask[first:end] = True
    if eos_id is not None:
        mask[eos_id] = True
    return mask


class AllowOnly(LogitsProcessor):
    """Bans every token outside a mask.

    Args:
        mask: (V,), True = allowed.
    """

    def __init__(self, mask: Tensor) -> None:
        """Keep the mask."""
        self.mask = mask

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, V) with -inf where banned."""
        return scores.masked_fill(~self.mask.to(scores.device), -torch.inf)


class GumbelNoise(LogitsProcessor):
    """Turns taking the largest score into drawing from the softmax, with one random stream a sequence.

    Args:
        seeds: one for each sequence of the batch.
    """

    def __init__(self, seeds: list[int]) -> None:
        """Open one random stream a sequence."""
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, V) plus noise."""
        assert len(scores) == len(self.generators)
        exponential = torch.stack(
            [torch.empty(scores.shape[1]).exponential_(generator=generator) for generator in self.generators]
        )
        return scores.float() - exponential.log().to(scores.device)
