"""Losses by kind of token, as sums and counts that add up over batches and ranks.

Layout of a vector of sums (2K,): pairs of loss and number of tokens, for all predicted tokens, for text, for speech,
for each stream of speech, for each codebook of streams with several, and for the ends of documents. The end of a
document is a text token that closes speech as well. It counts neither as text nor as speech, so that these losses stay
those of words and units. Modality markers count in the first pair only.
"""

import math

import torch
from torch import Tensor

from spiritlm_pl.vocabulary import Vocabulary

LARGEST_LOSS = 50.0  # nats; perplexities are computed of at most this loss, since the exponential would overflow


def suffixes(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the K endings that metrics' names have after `loss`, in the order of the pairs."""
    streams = (f"_{stream.name}" for stream in vocabulary.streams)
    return ("", "_text", "_speech", *streams, *_codebooks(vocabulary), "_end")


def _codebooks(vocabulary: Vocabulary) -> dict[str, tuple[int, int]]:
    """Return the first id and the end id of each codebook, by its ending; streams with one codebook have none."""
    found = {}
    for stream in vocabulary.streams:
        first, _ = vocabulary.bounds(stream.name)
        if stream.num_codebooks > 1:
            for name in stream.codebook_names:
                found[f"_{name}"] = (first, first + stream.size)
                first += stream.size
    return found


def loss_sums(losses: Tensor, targets: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Sum losses (M,) of target tokens (M,) by kind; return K pairs of sum and count (2K,), fp32.

    The kinds are all tokens, text, speech, each stream of speech, and ends of documents.
    """
    ranges = [(0, vocabulary.num_rows), (0, vocabulary.num_text), vocabulary.speech_bounds]
    ranges += [vocabulary.bounds(stream.name) for stream in vocabulary.streams]
    ranges += _codebooks(vocabulary).values()
    closing = vocabulary.end_of_document
    ends = torch.zeros_like(targets, dtype=torch.bool) if closing is None else targets == closing
    kinds = [(targets >= first) & (targets < end) for first, end in ranges]
    kinds[1] = kinds[1] & ~ends
    chosen = torch.stack([*kinds, ends]).to(losses.dtype)  # (K, M)
    # without a matrix product, since 0 * nan of one kind would spoil the sums of the others
    sums = torch.where(chosen > 0, losses, 0.0).sum(1)
    return torch.stack((sums, chosen.sum(1)), dim=1).flatten()


def loss_metrics(sums: Tensor, vocabulary: Vocabulary, units_per_second: float | None) -> dict[str, float]:
    """Compute losses (nats per token), perplexities, and bits per second of speech from sums.

    Codebooks have a loss alone.

    Args:
        sums: sum and count of each kind of token (2K,), from `loss_sums`. Streams of speech get values of their own
            only if there are several.
        vocabulary: layout of the token ids.
        units_per_second: speech tokens per second after deduplication; None, where it is unknown, leaves out the bits
            per second.
    """
    pairs = dict(zip(suffixes(vocabulary), sums.view(-1, 2).tolist(), strict=True))
    metrics: dict[str, float] = {}
    codebooks = _codebooks(vocabulary)
    first = f"_{vocabulary.streams[0].name}"
    first_is_all = pairs[first][1] == pairs["_speech"][1]
    for suffix, (total, count) in pairs.items():
        if count and not (suffix == first and first_is_all):
            metrics[f"loss{suffix}"] = total / count
            if suffix not in codebooks:
                metrics[f"perplexity{suffix}"] = math.exp(min(total / count, LARGEST_LOSS))
    if "loss_speech" in metrics and units_per_second is not None:
        metrics["speech_bits_per_second"] = metrics["loss_speech"] / math.log(2) * units_per_second
    return metrics
