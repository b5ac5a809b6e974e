"""Attention over packed rows that does not cross documents, plugged into `transformers` by name.

A row holds several documents; a dense (T, T) block mask makes them pay for each other. Here the bounds of
the documents travel through the model as a keyword and each document attends to itself only: on CUDA with
one variable-length flash kernel, elsewhere with one causal call per document, without any mask. Kernels know
neither capped scores (Gemma 2) nor sinks (GPT-OSS): there the products are written out, per document.

Shapes: B rows, T tokens of a row, N = B * T, H heads, K key-value heads, D head dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from spiritlm_pl.contracts.batches import TokenBatch

NAME = "spiritlm_packed"
MATMUL_LIMIT = 1024  # documents up to this length are attended by plain products on CPU in bf16

varlen_attn: Callable[..., Any] | None
try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # older torch: one flash call per document
    varlen_attn = None


@dataclass(frozen=True)
class Packing:
    """Bounds of the documents of a batch.

    Attributes:
        cu_seqlens: (documents + 1,) int32 bounds in the flattened (B * T) batch, on the batch's device.
        lengths: the same as a list of lengths.
    """

    cu_seqlens: Tensor
    lengths: list[int]

    @property
    def longest(self) -> int:
        """Number of tokens of the longest document."""
        return max(self.lengths)


def packing(batch: TokenBatch, cross_documents: bool = False) -> Packing:
    """The attention bounds of a batch: its documents, or its whole rows if attention may cross documents."""
    num_rows, length = batch.tokens.shape
    if not cross_documents:
        return Packing(batch.cu_seqlens, batch.cu_seqlens.diff().tolist())
    bounds = torch.arange(num_rows + 1, dtype=torch.int32, device=batch.tokens.device) * length
    return Packing(bounds, [length] * num_rows)


def pass_through_mask(batch: TokenBatch) -> Tensor:
    """An empty 4-D mask: `transformers` hands such a mask on as it is and builds no (T, T) one."""
    return torch.empty((batch.tokens.shape[0], 1, 0, 0), dtype=torch.bool, device=batch.tokens.device)


def document_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Packing,
    scale: float,
    dropout: float = 0.0,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Causal attention inside every document.

    Args:
        query: (N, H, D).
        key: (N, K, D), K divides H.
        value: (N, K, D).
        bounds: of the documents.
        scale: factor of the scores.
        dropout: probability of dropping an attention weight (not on the flash path).
        window: how many tokens back a token sees; None for all.
        softcap: bound of the scores, see `plain_attention`; None for none.
        sinks: (H,), see `plain_attention`; None for none.

    Returns:
        (N, H, D).
    """
    grouped = query.shape[1] != key.shape[1]
    half = query.dtype in (torch.float16, torch.bfloat16)
    plain = softcap is not None or sinks is not None
    if varlen_attn is not None and query.is_cuda and half and not dropout and not plain:
        back = -1 if window is None else window - 1
        return varlen_attn(
            query,
            key,
            value,
            bounds.cu_seqlens,
            bounds.cu_seqlens,
            bounds.longest,
            bounds.longest,
            scale=scale,
            window_size=(back, 0),
            enable_gqa=grouped,
        )
    by_matmul = query.dtype == torch.bfloat16 and query.device.type == "cpu" and not dropout
    pieces = []
    parts = (part.transpose(0, 1).split(bounds.lengths, dim=1) for part in (query, key, value))
    for one_query, one_key, one_value in zip(*parts, strict=True):  # (H, L, D), (K, L, D), (K, L, D)
        length = one_query.shape[1]
        mask = None if window is None or length <= window else _window_mask(length, window, query.device)
        if plain:
            attended = plain_attention(one_query, one_key, one_value, scale, mask, dropout, softcap, sinks)
        elif by_matmul and mask is None and length <= MATMUL_LIMIT:
            attended = _matmul_attention(one_query, one_key, one_value, scale)
        else:
            attended = F.scaled_dot_product_attention(
                one_query[None],
                one_key[None],
                one_value[None],
                attn_mask=mask,
                dropout_p=dropout,
                is_causal=mask is None,
                scale=scale,
                enable_gqa=grouped,
            )[0]
        pieces.append(attended.transpose(0, 1))
    return torch.cat(pieces)


def plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attention by plain products, with what no kernel has; the softmax is computed in fp32.

    Args:
        query: (..., H, L, D).
        key: (..., K, M, D), K divides H.
        value: (..., K, M, D).
        scale: factor of the scores.
        mask: (..., L, M), True where a token sees another, or what is added to the scores; None for causal.
        dropout: probability of dropping an attention weight.
        softcap: scores become softcap * tanh(score / softcap) (Gemma 2, arXiv 2408.00118); None for none.
        sinks: (H,) scores of a further place that holds nothing (GPT-OSS, arXiv 2508.10925); None for none.

    Returns:
        (..., H, L, D).
    """
    groups = query.shape[-3] // key.shape[-3]
    if groups > 1:
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    scores = (query @ key.transpose(-1, -2) * scale).float()
    if softcap is not None:
        scores = softcap * (scores / softcap).tanh()
    if mask is None:
        length = scores.shape[-1]
        mask = _window_mask(length, length, query.device)[-scores.shape[-2] :]
    lowest = torch.finfo(scores.dtype).min  # finite: padding sees nothing, and its weights are no numbers else
    scores = scores.masked_fill(~mask, lowest) if mask.dtype == torch.bool else scores + mask
    if sinks is not None:
        column = sinks.float()[:, None, None].expand(*scores.shape[:-1], 1)
        scores = torch.cat([scores, column], -1)
    weights = scores.softmax(-1)
    if sinks is not None:
        weights = weights[..., :-1]
    return F.dropout(weights.to(value.dtype), dropout) @ value


def _matmul_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Causal attention (H, L, D) by plain products: in bf16 on CPU 2 to 4 times as fast as flash."""
    groups = query.shape[0] // key.shape[0]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 0), value.repeat_interleave(groups, 0)
    future = _future(query.shape[1], query.dtype)
    return torch.baddbmm(future, query, key.transpose(1, 2), alpha=scale).softmax(-1) @ value


@lru_cache(maxsize=1)
def _all_future(dtype: torch.dtype) -> Tensor:
    return torch.full((MATMUL_LIMIT, MATMUL_LIMIT), -torch.inf, dtype=dtype).triu_(1)


def _future(length: int, dtype: torch.dtype) -> Tensor:
    """What is added to the scores (L, L): nothing to the past, minus infinity to the future."""
    return _all_future(dtype)[:length, :length]


def _window_mask(length: int, window: int, device: torch.device) -> Tensor:
    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
    return (distance >= 0) & (distance < window)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    bounds: Packing | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function `transformers` calls: packed with `bounds`, over the whole row without (generation).

    Args:
        module: the attention layer.
        query: (B, H, T, D).
        key: (B, K, T, D).
        value: (B, K, T, D).
        attention_mask: used without `bounds` only.
        scaling: factor of the scores, 1 / sqrt(D) by default.
        dropout: probability of dropping an attention weight.
        bounds: of the documents.
        sliding_window: how many tokens back a token sees.
        softcap: bound of the scores.
        s_aux: (H,) attention sinks.
        kwargs: what else the model passes; what of it changes anything, the probe finds (`spiritlm_pl.lm.probe`).

    Returns:
        (B, T, H, D) and no weights.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if bounds is None and (softcap is not None or s_aux is not None):
        attended = plain_attention(query, key, value, scale, attention_mask, dropout, softcap, s_aux)
        return attended.transpose(1, 2), None
    if bounds is None:
        return sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            sliding_window=sliding_window,
            **kwargs,
        )
    batch, _, length, _ = query.shape
    if torch.is_autocast_enabled(query.device.type):  # rotary positions leave queries and keys in fp32
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    query, key, value = (part.transpose(1, 2).flatten(0, 1) for part in (query, key, value))
    attended = document_attention(query, key, value, bounds, scale, dropout, sliding_window, softcap, s_aux)
    return attended.unflatten(0, (batch, length)), None


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
