"""Log-likelihoods of the ends of token sequences, in batches; a context that several ends share is read once.

Shapes: B batch, T tokens, K scored tokens, N sequences.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from spiritlm_pl.lm import probe

Tokens = Sequence[int]
Item = tuple[Tokens, Sequence[Tokens], Sequence[int]]  # context, continuations, tokens of each that are not counted


@torch.no_grad()
def log_likelihoods(
    model: PreTrainedModel,
    sequences: Sequence[tuple[list[int], int]],
    batch_tokens: int = 4096,
    rank: int = 0,
    world_size: int = 1,
) -> Tensor:
    """Summed log-likelihoods (N,) of the last tokens of sequences, given all before them.

    Args:
        model: causal language model in evaluation mode.
        sequences: token ids, and how many at the end are scored.
        batch_tokens: tokens of a batch, padding included.
        rank: of this process; ranks share the batches, and make equally many calls of the model.
        world_size: number of processes.
    """
    batches = _batches([len(tokens) for tokens, _ in sequences], batch_tokens)
    scores = torch.zeros(len(sequences), device=model.device)
    for turn in range(-(-len(batches) // world_size)):
        number = turn * world_size + rank
        batch = batches[min(number, len(batches) - 1)]
        values = _score(model, [sequences[index] for index in batch])
        if number < len(batches):
            scores[batch] = values
    if world_size > 1:
        torch.distributed.all_reduce(scores)
    return scores.cpu()


def _batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Places of sequences in batches of like lengths."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if not batches or (len(batches[-1]) + 1) * lengths[index] > batch_tokens:
            batches.append([])
        batches[-1].append(index)
    return batches


def _score(model: PreTrainedModel, batch: Sequence[tuple[list[int], int]]) -> Tensor:
    """Log-likelihoods (B,). Padding stands at the end, where causal attention needs no mask for it."""
    lengths = torch.tensor([len(tokens) for tokens, _ in batch], device=model.device)
    scored = torch.tensor([count for _, count in batch], device=model.device)
    longest = int(lengths.max())
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row, _ in batch], device=model.device)
    first = int((lengths - scored).min())  # the earliest scored token
    logits = model(input_ids=tokens, use_cache=False, logits_to_keep=longest - first + 1).logits[:, :-1]
    targets = tokens[:, first:]  # (B, K)
    losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    places = torch.arange(first, longest, device=model.device)
    counted = (places >= (lengths - scored)[:, None]) & (places < lengths[:, None])
    return -(losses.view(targets.shape) * counted).sum(1)


@torch.no_grad()
def choice_log_likelihoods(model: PreTrainedModel, items: Sequence[Item], batch_tokens: int = 4096) -> list[Tensor]:
    """Summed log-likelihoods of several continuations of each context.

    The context is computed once; with each continuation anew for families whose cache cannot be shared (Mamba, RWKV).

    Args:
        model: causal language model in evaluation mode.
        items: contexts, their continuations, none empty, and tokens of each continuation that are not counted.
        batch_tokens: tokens of a batch, padding and the contexts of all continuations included.

    Returns:
        For each item a tensor with one value a continuation.
    """
    if probe.outcome(model.config, "shared contexts", _sharing_difference).right:
        return _shared_log_likelihoods(model, items, batch_tokens)
    whole = [
        ([*context, *continuation], len(continuation) - left)
        for context, continuations, unscored in items
        for continuation, left in zip(continuations, unscored, strict=True)
    ]
    scores = log_likelihoods(model, whole, batch_tokens)
    return list(scores.split([len(continuations) for _, continuations, _ in items]))


def _sharing_difference(model: PreTrainedModel) -> float:
    """Largest difference between values with shared contexts, padded and not, and those of the plain `forward`."""
    sequences = probe.random_tokens((5, 9, 3, 2, 1, 4))
    items = [(sequences[0], sequences[2:4], [0, 0]), (sequences[1], sequences[4:], [0, 0])]
    expected = []
    for context, continuations, _ in items:
        for continuation in continuations:
            tokens = torch.tensor([*context, *continuation])
            logs = probe.plain_logits(model, tokens)[:-1].log_softmax(-1)
            expected.append(logs.gather(1, tokens[1:, None])[len(context) - 1 :].sum())
    found = [
        _shared_log_likelihoods(model, items, 4096),
        [_shared_log_likelihoods(model, [one], 4096)[0] for one in items],
    ]
    return max(float((torch.cat(values) - torch.stack(expected)).abs().max()) for values in found)


def _shared_log_likelihoods(model: PreTrainedModel, items: Sequence[Item], batch_tokens: int) -> list[Tensor]:
    scores: list[Tensor] = [torch.zeros(0)] * len(items)
    by_number: dict[int, list[int]] = {}
    for index, (_, continuations, _) in enumerate(items):
        by_number.setdefault(len(continuations), []).append(index)
    for number, members in by_number.items():
        sizes = [number * (len(items[index][0]) + max(map(len, items[index][1]), default=0)) for index in members]
        for batch in _batches(sizes, batch_tokens):
            chosen = [members[place] for place in batch]
            values = _score_choices(model, [items[index] for index in chosen], number)
            for index, row in zip(chosen, values, strict=True):
                scores[index] = row
    return scores


def _score_choices(model: PreTrainedModel, batch: Sequence[Item], number: int) -> Tensor:
    """Log-likelihoods (B, number): contexts padded on the left, continuations on the right."""
    contexts, mask = left_pad([context for context, _, _ in batch], model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    even = bool(mask.all())  # without a mask attention is faster
    cache = DynamicCache(config=model.config)
    first = model(
        input_ids=contexts,
        attention_mask=None if even else mask.long(),
        position_ids=positions,
        cache=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits  # (B, 1, V)
    cache.batch_repeat_interleave(number)
    rows = [list(continuation) for _, continuations, _ in batch for continuation in continuations]
    unscored = torch.tensor([count for _, _, counts in batch for count in counts], device=model.device)
    lengths = torch.tensor([len(row) for row in rows], device=model.device)
    longest = int(lengths.max())
    targets = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=model.device)  # (B * number, K)
    logits = first.repeat_interleave(number, 0)
    if longest > 1:
        seen = torch.cat([mask.repeat_interleave(number, 0), torch.ones_like(targets[:, 1:], dtype=torch.bool)], 1)
        begin = positions[:, -1:].repeat_interleave(number, 0) + 1
        later = model(
            input_ids=targets[:, :-1],
            attention_mask=None if even else seen.long(),
            position_ids=begin + torch.arange(longest - 1, device=model.device),
            cache=cache,
            use_cache=True,
        ).logits
        logits = torch.cat([logits, later], 1)
    losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
    places = torch.arange(longest, device=model.device)
    counted = (places < lengths[:, None]) & (places >= unscored[:, None])
    return -(losses * counted).sum(1).view(len(batch), number).cpu()


def left_pad(sequences: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Tokens (B, T) with zeros before the shorter sequences, and the mask (B, T), True = keep."""
    length = max(len(sequence) for sequence in sequences)
    tokens = torch.zeros(len(sequences), length, dtype=torch.long)
    mask = torch.zeros(len(sequences), length, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        if sequence:
            tokens[row, -len(sequence) :] = torch.as_tensor(sequence)
            mask[row, -len(sequence) :] = True
    return tokens.to(device), mask.to(device)
