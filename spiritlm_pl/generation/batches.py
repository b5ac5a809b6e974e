"""Which prompts are continued together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spiritlm_pl.lm.positions import same_rotary_factors

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def batches_within(
    context: int | None, prompts: Sequence[Sequence[int]], limits: Sequence[int], batch_size: int, padded: bool = True
) -> list[slice]:
    """Split rows, in their order, into batches that stay within the context when short prompts are padded.

    Args:
        context: number of tokens in the model's context; None for no limit.
        prompts: token ids of the rows.
        limits: largest number of new tokens of each row; each row alone stays within the context.
        batch_size: largest number of rows in a batch.
        padded: whether prompts of different lengths may share a batch.
    """
    batches: list[slice] = []
    first = longest = most = 0
    for row, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
        longest, most = max(longest, len(prompt)), max(most, limit)
        full = row - first == batch_size or (context is not None and longest + most > context)
        if full or (not padded and row > first and len(prompt) != len(prompts[first])):
            batches.append(slice(first, row))
            first, longest, most = row, len(prompt), limit
    return [*batches, slice(first, len(prompts))] if prompts else []


def same_rotary_throughout(config: "PreTrainedConfig", prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> bool:
    """Whether positions are rotated in the same way from the shortest prompt to the end of the longest answer.

    Where not, prompts of different lengths are not padded to be continued together, and keys are computed anew for each
    token, since those of a shorter sequence are wrong in a longer one.

    Args:
        config: configuration of a causal language model.
        prompts: token ids of rows, at least one.
        limits: largest number of new tokens of each row.
    """
    lengths = [len(prompt) for prompt in prompts]
    return same_rotary_factors(config, min(lengths), max(lengths) + max(limits) - 1)
