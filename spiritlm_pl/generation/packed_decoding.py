"""Decoding with packed weights, one token of every row at a time: `generate` of `transformers` for models like Llama.

The packed weights of `spiritlm_pl.generation.packed_weights` serve the steps, and read short prompts, for which they
are faster, too; the model's own `forward` reads long and padded ones. Keys and values are kept in float32, in which
attention of single queries is faster than in bfloat16. Room for them grows with the answer, for few answers are as long
as they may be. Only the rows of allowed tokens of the output layer are computed.

Only decoders built like Llama can be packed, and `spiritlm_pl.lm.probe` compares each family with its own `forward`.

Shapes: B batch, N tokens so far, T places of the cache, H heads, K key-value heads, G = H / K, E head dimension, V rows
of the embedding.
"""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, LogitsProcessorList, PreTrainedModel

from spiritlm_pl.generation.packed_weights import Fingerprint, PackedLayer, PackedModel, can_be_packed, fingerprint
from spiritlm_pl.generation.stopping import OwnEnds
from spiritlm_pl.lm import probe
from spiritlm_pl.lm.likelihood import left_pad

MOST_MEMORY = 0.5  # share of the free memory that packed weights may take, and that keys and values may
LEAST_ROOM = 256  # tokens for which there is room at first
MOST_READ = 256  # tokens of prompts that packed weights read; they are hardly faster beyond that
Attend = Callable[[int, PackedLayer, Tensor], Tensor]  # of a layer's number, the layer, and its inputs
_packed: "weakref.WeakKeyDictionary[PreTrainedModel, tuple[Fingerprint, PackedModel]]" = weakref.WeakKeyDictionary()
_fixed: "weakref.WeakSet[PreTrainedModel]" = weakref.WeakSet()


def promise_fixed(model: PreTrainedModel) -> None:
    """Promise that weights and parts of a model never change again, so that they are not compared at every answer."""
    _fixed.add(model)


def packed_model(model: PreTrainedModel) -> PackedModel | None:
    """Return the packed weights of a model; None where it cannot be packed, or memory is short.

    Those of a model without trainable parameters are kept, until a weight changes.
    """
    if model in _fixed and model in _packed:
        return _packed[model][1]
    if not can_be_packed(model) or not probe.outcome(model.config, "packed", _packed_difference).right:
        return None
    trained = any(weight.requires_grad for weight in model.parameters())
    state = None if trained else fingerprint(model)
    kept = _packed.get(model)
    if kept is not None and kept[0] == state:
        return kept[1]
    _packed.pop(model, None)
    del kept  # its memory is free again
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    if size > MOST_MEMORY * psutil.virtual_memory().available:
        return None
    made = PackedModel(model)
    if state is not None:
        _packed[model] = state, made
    return made


def cache_fits(packed: PackedModel, rows: int, places: int) -> bool:
    """Whether keys and values of all places of all rows would fit into the free memory."""
    heads = sum(2 * layer.groups * layer.size for layer in packed.layers)
    size = rows * places * heads * torch.float32.itemsize
    return size <= MOST_MEMORY * psutil.virtual_memory().available


class PackedDecoding:
    """Computation of the logits that follow a batch of growing sequences.

    Args:
        model: model, which reads the prompts.
        packed: packed weights of the model.
        mask: places of the prompts (B, T), padded on the left, True where there is a token.
        room: largest number of tokens that are read after the prompts, one less than are written.
        allowed: mask (V,) of the tokens that may be generated; the logits of others may be minus infinity.
        cache: states of the first places of the prompts; None for none.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        packed: PackedModel,
        mask: Tensor,
        room: int,
        allowed: Tensor,
        cache: DynamicCache | None = None,
    ) -> None:
        """Work out positions and masks; the first call reads the prompts."""
        self.model, self.packed, self.mask, self.room, self.cache = model, packed, mask, room, cache
        self.has_read = False
        few = 2 * int(allowed.sum()) < len(allowed)
        self.allowed = allowed.nonzero().squeeze(1) if few else None
        self.num_rows = len(allowed)
        self.bias: Tensor | None = None  # (B, 1, 1, T), minus infinity where there is padding
        if not bool(mask.all()):
            seen = F.pad(mask, (0, room), value=True)
            self.bias = torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)[:, None, None]
        self.keys: list[Tensor] = []  # of each layer (B, K, T, E), with room for some of the tokens that come
        self.values: list[Tensor] = []

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> Tensor:
        """Compute the logits (B, V) in float32 that follow tokens (B, N), one more at each call, after the prompts."""
        if self.has_read:
            return self._next(tokens[:, -1], tokens.shape[1] - 1)
        self.has_read = True
        self.head = self.packed.head(self.allowed)
        if self.cache is None and self.bias is None and tokens.numel() <= MOST_READ:
            return self._read_packed(tokens)
        return self._read(tokens)

    def _read(self, prompts: Tensor) -> Tensor:
        """Read prompts (B, T), beyond what the cache holds of them, and return the logits (B, V)."""
        cache = DynamicCache(config=self.model.config) if self.cache is None else self.cache
        known = cache.get_seq_length()
        positions = (self.mask.cumsum(1) - 1).clamp(min=0)
        logits: Tensor = self.model(
            input_ids=prompts[:, known:],
            attention_mask=None if self.bias is None else self.mask.long(),
            position_ids=positions[:, known:],
            cache=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        self.keys = [cast(Any, layer).keys for layer in cache.layers]
        self.values = [cast(Any, layer).values for layer in cache.layers]
        self.cache = None
        return logits.float()

    def _read_packed(self, prompts: Tensor) -> Tensor:
        """Read prompts (B, T) without padding with the packed weights, and return the logits (B, V)."""
        batch, length = prompts.shape
        cos, sin = self._rotation(torch.arange(length)[None])

        def attend(number: int, layer: PackedLayer, inputs: Tensor) -> Tensor:
            turned, value = _turned(inputs, layer, cos.repeat(batch, 1, 1), sin.repeat(batch, 1, 1))
            query, key, value = (
                heads.unflatten(0, (batch, length)).transpose(1, 2)  # (B, H, T, E) or (B, K, T, E)
                for heads in (turned[:, : layer.heads], turned[:, layer.heads :], value)
            )
            self.keys.append(key)
            self.values.append(value)
            attended = F.scaled_dot_product_attention(
                query, key, value, is_causal=True, scale=layer.scale, enable_gqa=layer.heads > layer.groups
            )
            return attended.transpose(1, 2).flatten(2).flatten(0, 1)

        hidden = self._through_layers(prompts.flatten(), attend)
        return self._logits(hidden.unflatten(0, (batch, length))[:, -1])

    def _grow(self, step: int) -> None:
        """Double the room of new tokens when it holds as many as the number of this step, and rotate its positions."""
        more = min(max(step, LEAST_ROOM), self.room - step)
        for states in (self.keys, self.values):
            for number, held in enumerate(states):  # one by one, so that only one is there twice
                states[number] = _with_room(held, more)
        self.grown = step
        positions = self.mask.sum(1) + torch.arange(step, step + more)[:, None]
        cos, sin = self._rotation(positions)
        self.cos, self.sin = (part.view(more, -1, 1, part.shape[-1]) for part in (cos, sin))  # (steps, B, 1, E)

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines (N, 1, E) by which queries and keys at N positions, of any shape, are turned."""
        cos, sin = self.packed.rotary(next(self.packed.embedding.parameters()), position_ids=positions.flatten()[None])
        half = cos.shape[-1] // 2
        return cos[0].unsqueeze(1), torch.cat([-sin[..., :half], sin[..., half:]], -1)[0].unsqueeze(1)

    def _next(self, tokens: Tensor, place: int) -> Tensor:
        """Compute the logits (B, V) that follow tokens (B,) at a place of the cache."""
        if place == self.keys[0].shape[2]:
            self._grow(place - self.mask.shape[1])
        return self._logits(self._through_layers(tokens, partial(self._attend, place)))

    def _through_layers(self, tokens: Tensor, attend: Attend) -> Tensor:
        """Compute hidden states (N, D) of tokens (N,)."""
        hidden: Tensor = self.packed.embedding(tokens)
        for number, layer in enumerate(self.packed.layers):
            hidden = layer.output(attend(number, layer, layer.inputs(layer.norm(hidden))), hidden)
            gate, up = layer.gates(layer.feed_norm(hidden)).chunk(2, -1)
            hidden = layer.down(layer.activation(gate) * up, hidden)
        return hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        """Compute logits (B, V) of hidden states (B, D)."""
        found = self.head(self.packed.norm(hidden)).float()
        if self.allowed is None:
            return found
        whole = found.new_full((len(found), self.num_rows), -torch.inf)
        whole[:, self.allowed] = found
        return whole

    def _attend(self, place: int, number: int, layer: PackedLayer, inputs: Tensor) -> Tensor:
        """Attend from queries, keys and values (B, (H + 2 K) E) to all places so far, and return (B, H E)."""
        step = place - self.mask.shape[1] - self.grown
        turned, value = _turned(inputs, layer, self.cos[step], self.sin[step])
        keys, values = self.keys[number], self.values[number]
        keys[:, :, place], values[:, :, place] = turned[:, layer.heads :], value
        query = turned[:, : layer.heads].unflatten(1, (layer.groups, -1)).float()  # (B, K, G, E)
        seen = slice(place + 1)
        bias = None if self.bias is None else self.bias[..., seen]
        attended = F.scaled_dot_product_attention(
            query, keys[:, :, seen], values[:, :, seen], attn_mask=bias, scale=layer.scale
        )
        return attended.to(inputs.dtype).flatten(1)


def _turned(inputs: Tensor, layer: PackedLayer, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Split rows of queries, keys and values (N, (H + 2 K) E) into the first two, turned (N, H + K, E), and values."""
    heads = inputs.view(len(inputs), -1, layer.size)
    turned, value = heads[:, : -layer.groups], heads[:, -layer.groups :]
    return (turned * cos).addcmul_(turned.roll(layer.size // 2, -1), sin), value


def _with_room(states: Tensor, room: int) -> Tensor:
    """Copy states (B, K, T, E) to a float32 tensor with room for more tokens, whose memory is used as they come."""
    batch, heads, length, size = states.shape
    whole = torch.empty(batch, heads, length + room, size)
    whole[:, :, :length] = states
    return whole


def decode(decoding: PackedDecoding, prompts: Tensor, processors: LogitsProcessorList, ends: OwnEnds) -> Tensor:
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
        so_far = cast(torch.LongTensor, tokens[:, :place])
        scores = processors(so_far, cast(torch.FloatTensor, decoding(so_far)))
        tokens[:, place] = scores.argmax(-1).masked_fill(done, 0)
        done = done | torch.isin(tokens[:, place], ids) | ends(tokens[:, : place + 1], scores)
        if done.all():
            return tokens[:, length : place + 1]
    return tokens[:, length:]


def _packed_difference(model: PreTrainedModel) -> float:
    """Return the largest difference between log-probabilities of packed decoding and of the plain `forward`."""
    sequences = probe.random_tokens((9, 13))
    packed = PackedModel(model)
    found = [_log_probabilities(model, packed, rows) for rows in (sequences, sequences[1:])]  # padded, and not
    expected = torch.stack([probe.plain_logits(model, sequence)[-5:].log_softmax(-1) for sequence in sequences])
    return float(max((found[0] - expected).abs().max(), (found[1] - expected[1:]).abs().max()))


def _log_probabilities(model: PreTrainedModel, packed: PackedModel, sequences: list[list[int]]) -> Tensor:
    """Log-probabilities (B, 5, V) after each of the last five tokens of sequences, of which four come one by one."""
    everything = torch.ones(cast(Tensor, model.get_input_embeddings().weight).shape[0], dtype=torch.bool)
    prompts, mask = left_pad([sequence[:-4] for sequence in sequences])
    decoding = PackedDecoding(model, packed, mask, 4, everything)
    tokens = torch.cat([prompts, torch.tensor([sequence[-4:] for sequence in sequences])], 1)
    return torch.stack([decoding(tokens[:, : prompts.shape[1] + new]) for new in range(5)], 1).log_softmax(-1)
