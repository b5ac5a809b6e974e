"""Losses of each kind of token: sums and counts that add up over batches and ranks.

Layout of a vector of sums (2K,): loss and number of all predicted tokens, of text, of speech, of each of its streams,
and of the ends of documents. The end is a text token that closes speech as well: it counts as neither, so that the
losses of text and of speech stay those of words and units. Modality markers count in the first pair only.
"""

import math

import torch
from torch import Tensor

from spiritlm_pl.vocabulary import Vocabulary

LARGEST_LOSS = 50.0  # nats; where perplexities stop growing


def suffixes(vocabulary: Vocabulary) -> tuple[str, ...]:
    """What stands behind `loss` in the names of the figures, K of them."""
    return ("", "_text", "_speech", *(f"_{stream.name}" for stream in vocabulary.streams), "_end")


def loss_sums(losses: Tensor, targets: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Sums (2K,) of the losses (M,) of target tokens (M,), fp32."""
    ranges = [(0, vocabulary.num_rows), (0, vocabulary.num_text), vocabulary.speech_bounds]
    ranges += [vocabulary.bounds(stream.name) for stream in vocabulary.streams]
    closing = vocabulary.end_of_document
    ends = torch.zeros_like(targets, dtype=torch.bool) if closing is None else targets == closing
    kinds = [(targets >= first) & (targets < end) for first, end in ranges]
    kinds[1] = kinds[1] & ~ends
    chosen = torch.stack([*kinds, ends]).to(losses.dtype)  # (K, M)
    # no matmul: 0 * nan of one kind must not spoil the sum of another
    sums = torch.where(chosen > 0, losses, 0.0).sum(1)
    return torch.stack((sums, chosen.sum(1)), dim=1).flatten()


def loss_metrics(sums: Tensor, vocabulary: Vocabulary, units_per_second: float | None) -> dict[str, float]:
    """What sums mean: losses (nats a token), perplexities, and bits per second of speech.

    Args:
        sums: (2K,). Streams are told apart from speech where there are several.
        vocabulary: layout of the ids.
        units_per_second: speech tokens a second after deduplication; None where it is not known.
    """
    pairs = dict(zip(suffixes(vocabulary), sums.view(-1, 2).tolist(), strict=True))
    metrics: dict[str, float] = {}
    first = f"_{vocabulary.streams[0].name}"
    first_is_all = pairs[first][1] == pairs["_speech"][1]
    for suffix, (total, count) in pairs.items():
        if count and not (suffix == first and first_is_all):
            metrics[f"loss{suffix}"] = total / count
            metrics[f"perplexity{suffix}"] = math.exp(min(total / count, LARGEST_LOSS))
    if "loss_speech" in metrics and units_per_second is not None:
        metrics["speech_bits_per_second"] = metrics["loss_speech"] / math.log(2) * units_per_second
    return metrics
