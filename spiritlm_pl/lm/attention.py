"""Attention over packed rows that does not cross documents, plugged into `transformers` by name.

A row holds several documents. With a dense (T, T) block mask, each of them would cost attention over the whole row.
Here the bounds of the documents travel through the model as a keyword argument, and each document attends to itself
only: on CUDA with one variable-length flash kernel, in bfloat16 on a CPU with products over documents of about the same
length (`spiritlm_pl.lm.grouped_attention`), elsewhere with one causal call per document and no mask. The kernels
support neither capped scores (Gemma 2) nor attention sinks (GPT-OSS); for these, scores and weights are computed by
plain matrix products, document by document.

Shapes: B rows, T tokens of a row, N = B * T, H heads, K key-value heads, D head dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm.grouped_attention import Rotation, grouped_attention, rotations
from spiritlm_pl.lm.groups import Groups

NAME = "spiritlm_packed"

varlen_attn: Callable[..., Any] | None
try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # older torch, where each document takes a flash call of its own
    varlen_attn = None


class _Made:
    """What is made of the bounds once a batch: no container, so that FSDP2 hands it on where it makes inputs anew."""

    groups: Groups | None = None
    cos: Tensor | None = None
    rotations: list[Rotation] | None = None


@dataclass(frozen=True)
class Packing:
    """Bounds of the documents of a batch.

    Attributes:
        cu_seqlens: bounds of the documents in the flattened (B * T) batch (documents + 1,), int32, on the batch's
            device.
        lengths: number of tokens of each document, the differences of `cu_seqlens`.
        made: what was made of them before.
    """

    cu_seqlens: Tensor
    lengths: list[int]
    made: _Made = field(default_factory=_Made, repr=False, compare=False)

    @property
    def longest(self) -> int:
        """Number of tokens of the longest document."""
        return max(self.lengths)

    @property
    def groups(self) -> Groups:
        """The documents in groups of about the same length, on the CPU; made once a batch."""
        if self.made.groups is None:
            self.made.groups = Groups.of(self.lengths)
        return self.made.groups

    def rotations(self, cos: Tensor, sin: Tensor) -> list[Rotation]:
        """Return the rotations of the groups; all layers that get the same tables share them.

        Args:
            cos: cosines (B or 1, T, D) of the positions, as `transformers` gives them to its layers.
            sin: their sines, likewise.
        """
        if self.made.rotations is None or self.made.cos is not cos:
            num = sum(self.lengths) // cos.shape[1]
            tables = (table.expand(num, -1, -1).flatten(0, 1) for table in (cos, sin))
            self.made.cos, self.made.rotations = cos, rotations(self.groups, *tables)
        return self.made.rotations

    def within(self, window: int | None) -> bool:
        """Whether every token of a document sees all tokens before it through a window; None for no window."""
        return window is None or self.longest <= window


def packing(batch: TokenBatch, cross_documents: bool = False) -> Packing:
    """Return the attention bounds of a batch.

    Args:
        batch: packed rows of documents.
        cross_documents: whether attention may cross documents; then each whole row counts as one document.
    """
    num_rows, length = batch.tokens.shape
    if not cross_documents:
        return Packing(batch.cu_seqlens, batch.cu_seqlens.diff().tolist())
    bounds = torch.arange(num_rows + 1, dtype=torch.int32, device=batch.tokens.device) * length
    return Packing(bounds, [length] * num_rows)


def pass_through_mask(batch: TokenBatch) -> Tensor:
    """Return an empty 4-D mask, which makes `transformers` pass it on unchanged and build no (T, T) mask of its own."""
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
    """Compute causal attention inside every document.

    Args:
        query: queries (N, H, D) of all documents, one after another.
        key: keys (N, K, D), where K divides H.
        value: values (N, K, D) that belong to the keys.
        bounds: bounds of the documents in N.
        scale: factor by which the scores are multiplied.
        dropout: probability of dropping an attention weight; above 0, the flash kernel is not used.
        window: number of tokens that a token sees, itself and those before it; None for all.
        softcap: bound of the absolute scores, see `plain_attention`; None leaves them unbounded.
        sinks: scores of an attention sink for each head (H,), see `plain_attention`; None for no sinks.

    Returns:
        The attended values (N, H, D).
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
    if grouping_pays(query.dtype, query.device.type, dropout) and bounds.within(window) and not plain:
        return grouped_attention(query, key, value, bounds.groups, scale)
    pieces = []
    parts = (part.transpose(0, 1).split(bounds.lengths, dim=1) for part in (query, key, value))
    for one_query, one_key, one_value in zip(*parts, strict=True):  # (H, L, D), (K, L, D), (K, L, D)
        length = one_query.shape[1]
        mask = None if window is None or length <= window else _window_mask(length, window, query.device)
        if plain:
            attended = plain_attention(one_query, one_key, one_value, scale, mask, dropout, softcap, sinks)
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


def grouping_pays(dtype: torch.dtype, device: str, dropout: float) -> bool:
    """Whether `grouped_attention` computes this, which in bfloat16 on a CPU is faster than torch's kernel."""
    return dtype == torch.bfloat16 and device == "cpu" and not dropout


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
    """Compute attention by plain matrix products, with caps and sinks, which kernels lack; the softmax is in fp32.

    Args:
        query: queries (..., H, L, D).
        key: keys (..., K, M, D), where K divides H.
        value: values (..., K, M, D) that belong to the keys.
        scale: factor by which the scores are multiplied.
        mask: mask (..., L, M), True where a token sees another; or a tensor of that shape to add to the scores. None
            for causal attention.
        dropout: probability of dropping an attention weight.
        softcap: bound c of the scores, which become c * tanh(score / c) (Gemma 2, arXiv 2408.00118); None leaves them
            unbounded.
        sinks: scores (H,) of one more place without a value, which takes up weight (GPT-OSS, arXiv 2508.10925); None
            for no sinks.

    Returns:
        The attended values (..., H, L, D).
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
    lowest = torch.finfo(scores.dtype).min  # finite, since minus infinity would turn rows of padding into nan
    scores = scores.masked_fill(~mask, lowest) if mask.dtype == torch.bool else scores + mask
    if sinks is not None:
        column = sinks.float()[:, None, None].expand(*scores.shape[:-1], 1)
        scores = torch.cat([scores, column], -1)
    weights = scores.softmax(-1)
    if sinks is not None:
        weights = weights[..., :-1]
    return F.dropout(weights.to(value.dtype), dropout) @ value


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
    """Attend for `transformers`: inside documents where `bounds` are given, else (in generation) over the whole row.

    Args:
        module: attention layer that calls.
        query: queries (B, H, T, D).
        key: keys (B, K, T, D), where K divides H.
        value: values (B, K, T, D) that belong to the keys.
        attention_mask: mask in the form of `transformers`; used only without `bounds`.
        scaling: factor by which the scores are multiplied; None for 1 / sqrt(D).
        dropout: probability of dropping an attention weight.
        bounds: bounds of the documents in the flattened batch; None attends over the whole row.
        sliding_window: number of tokens that a token sees, itself and those before it; None for all.
        softcap: bound of the absolute scores, see `plain_attention`; None leaves them unbounded.
        s_aux: scores of attention sinks (H,), see `plain_attention`; None for no sinks.
        kwargs: further arguments of the model, which packed attention ignores. `spiritlm_pl.lm.probe` finds out whether
            ignoring them changes results.

    Returns:
        The attended values (B, T, H, D), and None in place of the attention weights.
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
    if torch.is_autocast_enabled(query.device.type):  # rotary positions leave queries and keys in fp32 under autocast
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    query, key, value = (part.transpose(1, 2).flatten(0, 1) for part in (query, key, value))
    attended = document_attention(query, key, value, bounds, scale, dropout, sliding_window, softcap, s_aux)
    return attended.unflatten(0, (batch, length)), None


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
