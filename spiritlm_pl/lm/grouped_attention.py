"""Rotary positions and causal attention of many documents on a CPU, as one operation with a backward pass of its own.

Written step by step, rotary positions (arXiv 2104.09864) make ten passes over queries and keys in float32, and
attention takes thirty small operations a document. Here documents of about the same length are computed together
(`spiritlm_pl.lm.groups`), queries and keys are rotated while they are brought into the order that the products read,
and a token's scores are computed up to the end of its block of queries only, not to the end of the document.

Shapes: N tokens of all documents, H heads, K key-value heads, D head dimension; inside a group: n documents of L
tokens with padding, G = H / K.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spiritlm_pl.lm.groups import Group, Groups

BLOCK = 128  # queries of a block
WHOLE = 192  # padded documents up to this length are one block
RECOMPUTED_FROM = 256  # from this length on, weights are computed again in the backward pass instead of kept


Turns = Sequence["Rotation | None"]  # of all groups; None where nothing is rotated


class Rotation(NamedTuple):
    """Factors of a group's rotation (n, 1, L, D), float32: of a feature, and of the one half a head away."""

    own: Tensor
    other: Tensor

    def turn(self, wide: Tensor) -> Tensor:
        """Rotate (n, heads, L, D) in float32, in place."""
        half = wide.shape[-1] // 2
        turned = torch.cat((wide[..., half:], wide[..., :half]), -1)
        return wide.mul_(self.own).addcmul_(turned, self.other)

    def back(self) -> "Rotation":
        """Return the transpose, which takes gradients back."""
        return Rotation(self.own, self.other.roll(self.other.shape[-1] // 2, -1))


def rotations(groups: Groups, cos: Tensor, sin: Tensor) -> list[Rotation]:
    """Prepare the rotations of all groups.

    Args:
        groups: the groups.
        cos: cosines (N, D) as `transformers` gives them, for both halves of a head.
        sin: sines (N, D) likewise.
    """
    half = cos.shape[-1] // 2
    signed = torch.cat((-sin[:, :half], sin[:, half:]), -1)
    own, other = (groups.gather(table.float()) for table in (cos, signed))
    found = []
    for group in groups.groups:
        shape = (group.num, 1, group.length, own.shape[-1])
        found.append(Rotation(own[group.tokens].view(shape), other[group.tokens].view(shape)))
    return found


class _GroupedAttention(torch.autograd.Function):
    """Attention (N, H, D) of queries (N, H, D), keys and values (N, K, D)."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, groups: Groups, scale: float, turns: Turns
    ) -> Tensor:
        wanted, heads = any(ctx.needs_input_grad), key.shape[1]
        query, key, value = (groups.gather(part) for part in (query, key, value))
        attended, saved = torch.empty_like(query), []
        for group, turn in zip(groups.groups, turns, strict=True):
            queries = _rotated(_split(query, group), turn, scale).unflatten(1, (heads, -1)).flatten(0, 1)
            keys = _rotated(_split(key, group), turn).flatten(0, 1)  # (n * K, L, D)
            values = _split(value, group).flatten(0, 1)
            found, kept = torch.empty_like(queries), []  # (n * K, G, L, D)
            for start, end in _blocks(group.length):
                weights = _weights(queries, keys, start, end)
                found[:, :, start:end] = (weights @ values[:, :end]).view_as(queries[:, :, start:end])
                kept.append(weights)
            _split(attended, group).copy_(found.view(group.num, -1, *found.shape[2:]))
            if wanted:
                saved += [queries, keys, values, *(kept if group.length < RECOMPUTED_FROM else [])]
        ctx.save_for_backward(*saved)
        ctx.groups, ctx.scale, ctx.turns = groups, scale, turns
        return groups.scatter(attended)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved, groups = iter(ctx.saved_tensors), ctx.groups
        grad = groups.gather(grads[0], zeros=True)
        found: list[Tensor] = []  # gradients of queries, keys and values, each (M, heads, D)
        for group, turn in zip(groups.groups, ctx.turns, strict=True):
            queries, keys, values = next(saved), next(saved), next(saved)
            kept = saved if group.length < RECOMPUTED_FROM else None
            slopes = _slopes(queries, keys, values, _split(grad, group).reshape(queries.shape), kept)
            parts = [part.view(group.num, -1, *part.shape[-2:]) for part in slopes]  # (n, heads, L, D)
            found = found or [grad.new_empty(len(grad), part.shape[1], part.shape[3]) for part in parts]
            back = None if turn is None else turn.back()
            for whole, part, factor in zip(found, parts, (ctx.scale, 1.0, None), strict=True):
                _split(whole, group).copy_(part if factor is None else _rotated(part, back, factor))
        in_query, in_key, in_value = (groups.scatter(whole) for whole in found)
        return in_query, in_key, in_value, None, None, None


def _rotated(part: Tensor, turn: Rotation | None, scale: float = 1.0) -> Tensor:
    """Rotate (n, heads, L, D) of any strides and multiply it; the result is contiguous, and of the same type."""
    if turn is None:
        return (part if scale == 1 else part * scale).contiguous()
    wide = turn.turn(part.to(torch.float32, memory_format=torch.contiguous_format, copy=True))
    return (wide if scale == 1 else wide.mul_(scale)).to(part.dtype)


def _split(part: Tensor, group: Group) -> Tensor:
    """View a group's tokens in (M, heads, D) as (n, heads, L, D)."""
    return part[group.tokens].unflatten(0, (group.num, group.length)).transpose(1, 2)


def _blocks(length: int) -> list[tuple[int, int]]:
    """Return first and end of each block of queries."""
    if length <= WHOLE:
        return [(0, length)]
    return [(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]


def _weights(queries: Tensor, keys: Tensor, start: int, end: int) -> Tensor:
    """Weights (n * K, G * block, end) of a block of queries (n * K, G, L, D) over keys (n * K, L, D) up to its end."""
    block = queries[:, :, start:end]
    scores = block.flatten(1, 2) @ keys[:, :end].transpose(1, 2)
    scores.unflatten(1, block.shape[1:3])[..., start:].add_(_future(end - start, scores.dtype))
    return scores.softmax(-1)


def _slopes(
    queries: Tensor, keys: Tensor, values: Tensor, grad: Tensor, kept: Iterator[Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries (n * K, G, L, D), keys and values (n * K, L, D) from that of the result (n * K, G, L, D)."""
    blocks = _blocks(keys.shape[1])
    in_query = torch.empty_like(queries)
    in_key = in_value = keys
    if len(blocks) > 1:  # sums over blocks are in float32
        in_key, in_value = (torch.zeros_like(part, dtype=torch.float32) for part in (keys, values))
    for start, end in blocks:
        weights = _weights(queries, keys, start, end) if kept is None else next(kept)
        block, given = (part[:, :, start:end].flatten(1, 2) for part in (queries, grad))
        slope = given @ values[:, :end].transpose(1, 2)
        slope = torch._softmax_backward_data(slope, weights, -1, weights.dtype)
        in_query[:, :, start:end] = (slope @ keys[:, :end]).view_as(queries[:, :, start:end])
        own_key, own_value = slope.transpose(1, 2) @ block, weights.transpose(1, 2) @ given
        if len(blocks) == 1:
            return in_query, own_key, own_value
        in_key[:, :end] += own_key
        in_value[:, :end] += own_value
    return in_query, in_key, in_value


@lru_cache(maxsize=32)
def _future(length: int, dtype: torch.dtype) -> Tensor:
    """Return what is added to the scores (L, L): 0 for the past, minus infinity for the future."""
    return torch.full((length, length), -torch.inf, dtype=dtype).triu_(1)


def grouped_attention(
    query: Tensor, key: Tensor, value: Tensor, groups: Groups, scale: float, turns: list[Rotation] | None = None
) -> Tensor:
    """Compute causal attention inside every document, after rotating queries and keys where rotations are given.

    Args:
        query: queries (N, H, D) of all documents, one after another.
        key: keys (N, K, D), where K divides H.
        value: values (N, K, D) that belong to the keys.
        groups: the documents, grouped.
        scale: factor by which the scores are multiplied.
        turns: rotations of the groups, see `rotations`; None for positions that are in queries and keys already.

    Returns:
        The attended values (N, H, D).
    """
    each: Turns = [None] * len(groups.groups) if turns is None else turns
    return cast(Tensor, _GroupedAttention.apply(query, key, value, groups, scale, each))
