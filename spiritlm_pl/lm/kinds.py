"""Losses of text and of speech apart: sums and counts that add up over batches and ranks.

Layout of a vector of sums (6,): loss and number of all predicted tokens, of text, of speech. Modality
markers count in the first pair only.
"""

import math

import torch
from torch import Tensor

from spiritlm_pl.vocabulary import Vocabulary

LARGEST_LOSS = 50.0  # nats; where perplexities stop growing


def loss_sums(losses: Tensor, targets: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Sums (6,) of the losses (M,) of target tokens (M,), fp32."""
    text = targets < vocabulary.num_text
    speech = (targets >= vocabulary.unit_offset) & (targets < vocabulary.task_offset)
    chosen = torch.stack((torch.ones_like(text), text, speech)).to(losses.dtype)  # (3, M)
    # no matmul: 0 * nan of one kind must not spoil the sum of another
    sums = torch.where(chosen > 0, losses, 0.0).sum(1)
    return torch.stack((sums, chosen.sum(1)), dim=1).flatten()


def loss_metrics(sums: Tensor, units_per_second: float | None) -> dict[str, float]:
    """What sums mean: losses (nats a token), perplexities, and bits per second of speech.

    Args:
        sums: (6,).
        units_per_second: speech tokens a second after deduplication; None where it is not known.
    """
    values = sums.tolist()
    metrics: dict[str, float] = {}
    for index, suffix in enumerate(("", "_text", "_speech")):
        total, count = values[2 * index : 2 * index + 2]
        if count:
            metrics[f"loss{suffix}"] = total / count
            metrics[f"perplexity{suffix}"] = math.exp(min(total / count, LARGEST_LOSS))
    if "loss_speech" in metrics and units_per_second is not None:
        metrics["speech_bits_per_second"] = metrics["loss_speech"] / math.log(2) * units_per_second
    return metrics
