"""Decoding with packed weights, one token of every row at a time: `generate` of `transformers` for models like Llama.

The packed weights of `spiritlm_pl.generation.packed_weights` serve the steps, and read the prompts as well, but those
that a function is given for. Room for keys and values grows with the answer, for few answers are as long as they may
be. Only the rows of allowed tokens of the output layer are computed.

Shapes: B batch, N tokens so far, T places of the prompts, H heads, K key-value heads, G = H / K, E head dimension, V
rows of the embedding.
"""

from collections.abc import Callable

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from spiritlm_pl.generation.key_values import KeyValues
from spiritlm_pl.generation.logits import Processors
from spiritlm_pl.generation.packed_weights import PackedLayer, PackedModel, rotated, signed
from spiritlm_pl.generation.stopping import OwnEnds

MOST_MEMORY = 0.5  # share of the free memory that packed weights may take, and that keys and values may
POSITIONS = 256  # whose rotation is computed at once
# From prompts (B, T) to the logits (B, V) that follow them, and keys and values (B, K, T, E) of each layer.
Reader = Callable[[Tensor], tuple[Tensor, list[Tensor], list[Tensor]]]


def cache_fits(packed: PackedModel, rows: int, places: int) -> bool:
    """Whether keys and values of all places of all rows would fit into the free memory."""
    heads = sum(2 * layer.groups * layer.size for layer in packed.layers)
    size = rows * places * heads * torch.float32.itemsize
    return size <= MOST_MEMORY * psutil.virtual_memory().available


class PackedDecoding:
    """Computation of the logits that follow a batch of growing sequences.

    Args:
        packed: packed weights of the model.
        mask: places of the prompts (B, T), padded on the left, True where there is a token.
        room: largest number of tokens that are read after the prompts, one less than are written.
        allowed: mask (V,) of the tokens that may be generated; the logits of others may be minus infinity.
        read: function that reads the prompts; None to read them with packed weights.
    """

    def __init__(
        self, packed: PackedModel, mask: Tensor, room: int, allowed: Tensor, read: Reader | None = None
    ) -> None:
        """Work out positions and masks; the first call reads the prompts."""
        # A bound method in place of None would be a cycle, which holds keys and values until garbage is collected.
        self.packed, self.mask, self.room, self.read = packed, mask, room, read
        few = 2 * int(allowed.sum()) < len(allowed)
        self.allowed = allowed.nonzero().squeeze(1) if few else None
        self.num_rows = len(allowed)
        self.bias: Tensor | None = None  # (B, 1, 1, T + room), minus infinity where there is padding
        if not bool(mask.all()):
            seen = F.pad(mask, (0, room), value=True)
            self.bias = torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)[:, None, None]
        self.states: list[KeyValues] = []  # of each layer
        self.rotations = 0  # steps whose rotation was computed

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> Tensor:
        """Compute the logits (B, V) in float32 that follow tokens (B, N), one more at each call, after the prompts."""
        if self.states:
            return self._next(tokens[:, -1], tokens.shape[1] - 1)
        self.head = self.packed.head(self.allowed)
        logits, keys, values = (self.read or self._read)(tokens)
        self.read = None  # it may hold keys and values, which would then be there twice
        for _ in self.packed.layers:
            self.states.append(KeyValues(keys.pop(0), values.pop(0), self.room))
        return logits.float()

    def _read(self, prompts: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Read prompts (B, T) with packed weights; returns are those of a `Reader`."""
        hidden, keys, values = read_prompts(self.packed, prompts, self.mask)
        return self._logits(hidden), keys, values

    def _rotate(self, step: int) -> None:
        """Compute the rotation of this step and some that follow."""
        self.rotations = min(step + POSITIONS, self.room)
        positions = self.mask.sum(1, keepdim=True) + torch.arange(step, self.rotations)
        cos, sin = self.packed.rotation(positions)
        self.cos = cos.transpose(0, 1).unsqueeze(2).contiguous()  # (steps, B, 1, E)
        self.sin = signed(sin).transpose(0, 1).unsqueeze(2).contiguous()

    def _next(self, tokens: Tensor, place: int) -> Tensor:
        """Compute the logits (B, V) that follow tokens (B,) at a place of the sequences."""
        step = place - self.mask.shape[1]
        if step == self.rotations:
            self._rotate(step)
        hidden: Tensor = self.packed.embedding(tokens)
        for layer, states in zip(self.packed.layers, self.states, strict=True):
            attended = self._attend(states, layer, layer.inputs(layer.norm(hidden)), place)
            hidden = layer.feed_forward(layer.output(attended, hidden))
        return self._logits(hidden)

    def _logits(self, hidden: Tensor) -> Tensor:
        """Compute logits (B, V) of the last hidden states (B, D)."""
        found = self.head(self.packed.norm(hidden)).float()
        if self.allowed is None:
            return found
        whole = found.new_full((len(found), self.num_rows), -torch.inf)
        whole[:, self.allowed] = found
        return whole

    def _attend(self, states: KeyValues, layer: PackedLayer, inputs: Tensor, place: int) -> Tensor:
        """Attend from queries, keys and values (B, (H + 2 K) E) to all places so far, and return (B, H E)."""
        step = (place - self.mask.shape[1]) % POSITIONS
        heads = inputs.view(len(inputs), -1, layer.size)
        turned, value = heads[:, : -layer.groups], heads[:, -layer.groups :]
        turned = rotated(turned, self.cos[step], self.sin[step])
        states.append(turned[:, layer.heads :], value)
        query = turned[:, : layer.heads].unflatten(1, (layer.groups, -1)).float()  # (B, K, G, E)
        bias = None if self.bias is None else self.bias[..., : place + 1]
        return states.attend(query, bias, layer.scale).to(inputs.dtype).flatten(1)


def read_prompts(packed: PackedModel, prompts: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Read prompts with packed weights.

    Args:
        packed: packed weights of the model.
        prompts: tokens (B, T), padded on the left.
        mask: places of the prompts (B, T), True where there is a token.

    Returns:
        The hidden states (B, D) of the last tokens after the last layer; keys and values (B, K, T, E) of each layer.
    """
    batch, length = prompts.shape
    cos, sin = packed.rotation((mask.cumsum(1) - 1).clamp(min=0))
    cos, sin = cos.unsqueeze(2), signed(sin).unsqueeze(2)  # (B, T, 1, E)
    seen: Tensor | None = None  # (B, 1, T, T), True where a place sees another
    if not bool(mask.all()):
        own = torch.eye(length, dtype=torch.bool)  # else padding would see nothing, and be no number
        seen = torch.ones(length, length, dtype=torch.bool).tril_() & mask[:, None, None] | own
    hidden = packed.embedding(prompts).flatten(0, 1)  # (B T, D)
    keys, values = [], []
    for layer in packed.layers:
        heads = layer.inputs(layer.norm(hidden)).view(batch, length, -1, layer.size)
        turned = rotated(heads[:, :, : -layer.groups], cos, sin).transpose(1, 2)  # (B, H + K, T, E)
        value = heads[:, :, -layer.groups :].transpose(1, 2)
        query, key = turned[:, : layer.heads], turned[:, layer.heads :]
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=seen,
            is_causal=seen is None,
            scale=layer.scale,
            enable_gqa=layer.heads != layer.groups,
        )
        hidden = layer.feed_forward(layer.output(attended.transpose(1, 2).reshape(batch * length, -1), hidden))
        keys.append(key)
        values.append(value)
    return hidden.view(batch, length, -1)[:, -1], keys, values


def decode(decoding: PackedDecoding, prompts: Tensor, processors: Processors, ends: OwnEnds) -> Tensor:
    """Continue prompts (B, T) by one token more than there is room to read; return them (B, N), zeros after an end.

    Args:
        decoding: computation of the logits.
        prompts: prompts, padded on the left.
        processors: what bans tokens and adds sampling noise; the likeliest token after it is taken.
        ends: what ends a row, beside the ids of its stops.
    """
    batch, length = prompts.shape
    tokens = torch.zeros(batch, length + decoding.room + 1, dtype=torch.long)
    tokens[:, :length] = prompts
    ids = torch.tensor(sorted(ends.stops.ids), dtype=torch.long)
    done = torch.zeros(batch, dtype=torch.bool)
    for place in range(length, tokens.shape[1]):
        so_far = tokens[:, :place]
        scores = processors(so_far, decoding(so_far))
        tokens[:, place] = scores.argmax(-1).masked_fill(done, 0)
        done = done | torch.isin(tokens[:, place], ids) | ends(tokens[:, : place + 1], scores)
        if done.all():
            return tokens[:, length : place + 1]
    return tokens[:, length:]
