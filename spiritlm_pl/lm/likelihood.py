"""Log-likelihoods of the ends of token sequences, in batches. A context that several ends share is computed once.

Shapes: B batch, T tokens, C tokens of a context, K scored tokens, N sequences, V entries of the vocabulary, W ways of
counting.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from spiritlm_pl.lm import probe
from spiritlm_pl.lm.padding import left_pad, right_pad
from spiritlm_pl.lm.positions import same_rotary_factors
from spiritlm_pl.runtime.onednn_linear import onednn_products

Tokens = Sequence[int]
Branches = tuple[Tokens, Sequence[Tokens]]  # a context and its continuations
SHORTEST_SHARED = 16  # tokens of a context; computing fewer again costs less than a second call of the model
MOST_LOGITS = 1 << 26  # that are in float32 at a time: 256 MB
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
    batches = _row_batches(model, [len(tokens) for tokens, _ in sequences], batch_tokens)
    scores = torch.zeros(len(sequences), device=model.device)
    for turn in range(-(-len(batches) // world_size)):
        number = turn * world_size + rank
        batch = batches[min(number, len(batches) - 1)]
        with onednn_products(model):
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


def _branch_batches(sizes: Sequence[tuple[int, int]], batch_tokens: int) -> list[list[int]]:
    """Group places of contexts with continuations into batches, of similar lengths of both.

    Args:
        sizes: tokens of each context, and of its longest continuation.
        batch_tokens: most tokens of the contexts and of one continuation of each, padding included.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(sizes)), key=lambda index: sizes[index]):
        batch = [*(batches[-1] if batches else []), index]
        longest = max(sizes[place][0] for place in batch) + max(sizes[place][1] for place in batch)
        if not batches or len(batch) * longest > batch_tokens:
            batches.append([])
        batches[-1].append(index)
    return batches


def _row_batches(model: PreTrainedModel, lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Group places of rows, of which all but the last token are read, so that none is read otherwise than alone."""
    batches: list[list[int]] = []
    for batch in _batches(lengths, batch_tokens):
        batches.append([])
        for index in batch:
            first = lengths[batches[-1][0]] if batches[-1] else lengths[index]
            if not same_rotary_factors(model.config, first - 1, lengths[index] - 1):
                batches.append([])
            batches[-1].append(index)
    return batches


def _score(model: PreTrainedModel, batch: Sequence[tuple[list[int], int]]) -> Tensor:
    """Sum log-likelihoods (B,) of one batch; padding stands at the end, so that causal attention needs no mask."""
    lengths = torch.tensor([len(tokens) for tokens, _ in batch], device=model.device)
    scored = torch.tensor([count for _, count in batch], device=model.device)
    longest = int(lengths.max())
    tokens = right_pad([row for row, _ in batch], model.device)
    first = min(int((lengths - scored).min()), longest - 1)  # place of the earliest scored token
    # Without the last token, behind which nothing is predicted, and which may be beyond the model's positions.
    logits = model(input_ids=tokens[:, :-1], use_cache=False, logits_to_keep=longest - first).logits
    targets = tokens[:, first:]  # (B, K)
    losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    places = torch.arange(first, longest, device=model.device)
    counted = (places >= (lengths - scored)[:, None]) & (places < lengths[:, None])
    return -(losses.view(targets.shape) * counted).sum(1)


@dataclass(frozen=True)
class TokenScores:
    """Log-likelihoods of the tokens of a context and of each of its continuations, in nats, on the CPU.

    Attributes:
        context: (W, C) log-likelihoods of the context's tokens except the first; C = 0 if they were not asked for.
        continuations: (W, K) log-likelihoods of the tokens of each continuation.

    W is 1 for the model's own distribution; or 2 if allowed tokens were given, the second being that over them alone.
    """

    context: Tensor
    continuations: Sequence[Tensor]


@torch.no_grad()
def token_log_likelihoods(
    model: PreTrainedModel,
    items: Sequence[Branches],
    batch_tokens: int = 4096,
    allowed: Tensor | None = None,
    with_context: bool = True,
) -> list[TokenScores]:
    """Compute the log-likelihood of each token of several continuations of each context.

    A context is computed once for all of its continuations. For model families whose cache cannot be shared (Mamba,
    RWKV), where the context is shorter than sharing pays for, and where rotary factors change with the length of what
    is read, it is computed again with each continuation.

    Args:
        model: causal language model in evaluation mode.
        items: contexts of at least one token, with their continuations, none of them empty.
        batch_tokens: most tokens in a batch, padding included, and a context counted once for each continuation.
        allowed: (V,) bool, tokens of a second distribution that leaves out all others; None for the model's own alone.
        with_context: whether the tokens of the contexts are scored, too.
    """
    longest = max((len(context) for context, _ in items), default=1)
    added = max((len(one) for _, continuations in items for one in continuations), default=1)
    sharing = same_rotary_factors(model.config, 1, longest + added - 1)
    sharing = sharing and probe.outcome(model.config, "shared contexts", _sharing_difference).right
    found: dict[int, TokenScores] = {}
    for score in (_shared, _alone):
        places = [
            place
            for place, (context, _) in enumerate(items)
            if (score is _shared) == (sharing and len(context) >= SHORTEST_SHARED)
        ]
        with onednn_products(model):
            scores = score(model, [items[place] for place in places], batch_tokens, allowed, with_context)
        found.update(zip(places, scores, strict=True))
    return [found[place] for place in range(len(items))]


def choice_log_likelihoods(model: PreTrainedModel, items: Sequence[Item], batch_tokens: int = 4096) -> list[Tensor]:
    """Sum the log-likelihoods of several continuations of each context; see `token_log_likelihoods`.

    Args:
        model: causal language model in evaluation mode.
        items: contexts, their continuations, none of them empty, and for each continuation how many of its first tokens
            are not scored.
        batch_tokens: most tokens in a batch, padding included, and a context counted once for each continuation.

    Returns:
        For each item a float64 tensor of sums in nats, one value per continuation.
    """
    branches = [(context, continuations) for context, continuations, _ in items]
    found = token_log_likelihoods(model, branches, batch_tokens, with_context=False)
    return [
        torch.stack([values[0, left:].double().sum() for values, left in zip(one.continuations, unscored, strict=True)])
        for one, (_, _, unscored) in zip(found, items, strict=True)
    ]


def _sharing_difference(model: PreTrainedModel) -> float:
    """Return the largest difference between values with shared contexts and those of the plain `forward`.

    Contexts are tried in one batch, and so with padding, and one by one.
    """
    sequences = probe.random_tokens((5, 9, 3, 2, 1, 4))
    items = [(sequences[0], sequences[2:4]), (sequences[1], sequences[4:])]
    expected = []
    for context, continuations in items:
        for continuation in continuations:
            tokens = torch.tensor([*context, *continuation])
            logs = probe.plain_logits(model, tokens)[:-1].log_softmax(-1)
            expected.append(logs.gather(1, tokens[1:, None])[len(context) - 1 :].sum())
    found = [_shared(model, items, 4096, None, False), [_shared(model, [one], 4096, None, False)[0] for one in items]]
    sums = [torch.stack([values.sum() for scores in one for values in scores.continuations]) for one in found]
    return max(float((values - torch.stack(expected)).abs().max()) for values in sums)


def _alone(
    model: PreTrainedModel, items: Sequence[Branches], batch_tokens: int, allowed: Tensor | None, with_context: bool
) -> list[TokenScores]:
    """Compute each context again with each continuation."""
    rows = [([*context, *one], number) for number, (context, branches) in enumerate(items) for one in branches]
    values: list[Tensor] = [torch.zeros(0)] * len(rows)
    for batch in _row_batches(model, [len(row) for row, _ in rows], batch_tokens):
        tokens = right_pad([rows[place][0] for place in batch], model.device)
        first = 1 if with_context else min(len(items[rows[place][1]][0]) for place in batch)
        logits = model(input_ids=tokens[:, :-1], use_cache=False, logits_to_keep=tokens.shape[1] - first).logits
        found = _values(logits, tokens[:, first:], allowed).cpu()  # (W, B, K)
        for place, row in zip(batch, found.unbind(1), strict=True):
            values[place] = torch.cat([row.new_zeros(len(row), first - 1), row], 1)[:, : len(rows[place][0]) - 1]
    result, start = [], 0
    for context, branches in items:
        own = values[start : start + len(branches)]
        start += len(branches)
        before = own[0][:, : len(context) - 1 if with_context else 0]
        result.append(TokenScores(before, [one[:, len(context) - 1 :] for one in own]))
    return result


def _shared(
    model: PreTrainedModel, items: Sequence[Branches], batch_tokens: int, allowed: Tensor | None, with_context: bool
) -> list[TokenScores]:
    """Compute each context once."""
    scores: dict[int, TokenScores] = {}
    by_number: dict[int, list[int]] = {}
    for index, (_, continuations) in enumerate(items):
        by_number.setdefault(len(continuations), []).append(index)
    for number, members in by_number.items():
        sizes = [(len(items[index][0]), max(map(len, items[index][1]))) for index in members]
        for batch in _branch_batches(sizes, batch_tokens // number):
            chosen = [members[place] for place in batch]
            found = _shared_batch(model, [items[index] for index in chosen], number, allowed, with_context)
            scores.update(zip(chosen, found, strict=True))
    return [scores[index] for index in range(len(items))]


def _shared_batch(
    model: PreTrainedModel, batch: Sequence[Branches], number: int, allowed: Tensor | None, with_context: bool
) -> list[TokenScores]:
    """Score contexts, padded on the left, and `number` continuations of each, padded on the right."""
    contexts, mask = left_pad([context for context, _ in batch], model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    even = bool(mask.all())  # without a mask, attention is faster
    cache = DynamicCache(config=model.config)
    logits = model(
        input_ids=contexts,
        attention_mask=None if even else mask.long(),
        position_ids=positions,
        cache=cache,
        use_cache=True,
        logits_to_keep=0 if with_context else 1,
    ).logits  # (B, C or 1, V)
    before = _values(logits[:, :-1], contexts[:, contexts.shape[1] - logits.shape[1] + 1 :], allowed).cpu()
    cache.batch_repeat_interleave(number)
    rows = [list(continuation) for _, continuations in batch for continuation in continuations]
    targets = right_pad(rows, model.device)  # (B * number, K)
    # The first token of each is predicted by the context. Joining values is cheaper than joining logits.
    after = [_values(logits[:, -1:].repeat_interleave(number, 0), targets[:, :1], allowed).cpu()]
    if targets.shape[1] > 1:
        seen = torch.cat([mask.repeat_interleave(number, 0), torch.ones_like(targets[:, 1:], dtype=torch.bool)], 1)
        begin = positions[:, -1:].repeat_interleave(number, 0) + 1
        later = model(
            input_ids=targets[:, :-1],
            attention_mask=None if even else seen.long(),
            position_ids=begin + torch.arange(targets.shape[1] - 1, device=model.device),
            cache=cache,
            use_cache=True,
        ).logits
        after.append(_values(later, targets[:, 1:], allowed).cpu())
    own = torch.cat(after, 2)  # (W, B * number, K)
    return [
        TokenScores(
            before[:, place, before.shape[2] - len(context) + 1 :] if with_context else before[:, place],
            [own[:, place * number + branch, : len(one)] for branch, one in enumerate(continuations)],
        )
        for place, (context, continuations) in enumerate(batch)
    ]


def _values(logits: Tensor, targets: Tensor, allowed: Tensor | None) -> Tensor:
    """Return the log-likelihoods (W, B, K) of targets (B, K) under logits (B, K, V), with few logits in float32.

    Those of a model in float64 stay in it.
    """
    exact = torch.promote_types(logits.dtype, torch.float32)
    step = max(1, MOST_LOGITS // max(1, logits.shape[0] * logits.shape[2]))
    parts = [
        _some_values(logits[:, start : start + step].to(exact), targets[:, start : start + step], allowed)
        for start in range(0, targets.shape[1], step)
    ]
    return torch.cat(parts, 2) if parts else logits.new_zeros(1 if allowed is None else 2, *targets.shape).to(exact)


def _some_values(logits: Tensor, targets: Tensor, allowed: Tensor | None) -> Tensor:
    chosen = logits.gather(2, targets[..., None])[..., 0]
    found = [chosen - logits.logsumexp(2)]
    if allowed is not None:
        allowed = allowed.to(logits.device)
        within = chosen.masked_fill(~allowed[targets], -torch.inf)
        found.append(within - logits[..., allowed].logsumexp(2))  # few of all, as speech tokens are
    return torch.stack(found)
