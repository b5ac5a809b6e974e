"""Log-likelihoods of the ends of token sequences, in batches. A context that several ends share is computed once.

Shapes: B batch, T tokens, K scored tokens, N sequences.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from spiritlm_pl.lm import probe

Tokens = Sequence[int]
# A context, its continuations, and how many first tokens of each continuation are not scored.
Item = tuple[Tokens, Sequence[Tokens], Sequence[int]]


@torch.no_grad()
def log_likelihoods(
    model: PreTrainedModel,
    sequences: Sequence[tuple[list[int], int]],
    batch_tokens: int = 4096,
    rank: int = 0,
    world_size: int = 1,
) -> Tensor:
    """Sum the log-likelihoods of the last tokens of each sequence, given all tokens before them.

    Args:
        model: causal language model in evaluation mode.
        sequences: token ids of each sequence, and how many at its end are scored.
        batch_tokens: most tokens in a batch, padding included.
        rank: number of this process. Ranks share the batches, and call the model equally often.
        world_size: number of processes; 1 computes all batches here.

    Returns:
        The sums (N,) in nats, on the CPU and the same on each rank.
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
    """Group places of sequences into batches of similar lengths."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if not batches or (len(batches[-1]) + 1) * lengths[index] > batch_tokens:
            batches.append([])
        batches[-1].append(index)
    return batches


def _score(model: PreTrainedModel, batch: Sequence[tuple[list[int], int]]) -> Tensor:
    """Sum log-likelihoods (B,) of one batch; padding stands at the end, so that causal attention needs no mask."""
    lengths = torch.tensor([len(tokens) for tokens, _ in batch], device=model.device)
    scored = torch.tensor([count for _, count in batch], device=model.device)
    longest = int(lengths.max())
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row, _ in batch], device=model.device)
    first = int((lengths - scored).min())  # place of the earliest scored token
    logits = model(input_ids=tokens, use_cache=False, logits_to_keep=longest - first + 1).logits[:, :-1]
    targets = tokens[:, first:]  # (B, K)
    losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    places = torch.arange(first, longest, device=model.device)
    counted = (places >= (lengths - scored)[:, None]) & (places < lengths[:, None])
    return -(losses.view(targets.shape) * counted).sum(1)


@torch.no_grad()
def choice_log_likelihoods(model: PreTrainedModel, items: Sequence[Item], batch_tokens: int = 4096) -> list[Tensor]:
    """Sum the log-likelihoods of several continuations of each context.

    The context is computed once. For model families whose cache cannot be shared (Mamba, RWKV), it is computed again
    with each continuation.

    Args:
        model: causal language model in evaluation mode.
        items: contexts, their continuations, none of them empty, and for each continuation how many of its first tokens
            are not scored.
        batch_tokens: most tokens in a batch, padding included, and a context counted once for each continuation.

    Returns:
        For each item a tensor of sums in nats, one value per continuation.
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
    """Return the largest difference between values with shared contexts and those of the plain `forward`.

    Contexts are tried in one batch, and so with padding, and one by one.
    """
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
    """Sum log-likelihoods (B, number); contexts are padded on the left, continuations on the right."""
    contexts, mask = left_pad([context for context, _, _ in batch], model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    even = bool(mask.all())  # without a mask, attention is faster
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
    """Pad sequences with zeros on the left, and return tokens (B, T) and the mask (B, T), True = keep."""
    length = max(len(sequence) for sequence in sequences)
    tokens = torch.zeros(len(sequences), length, dtype=torch.long)
    mask = torch.zeros(len(sequences), length, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        if sequence:
            tokens[row, -len(sequence) :] = torch.as_tensor(sequence)
            mask[row, -len(sequence) :] = True
    return tokens.to(device), mask.to(device)
