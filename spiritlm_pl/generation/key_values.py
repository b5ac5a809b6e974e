"""Keys and values of one layer, which grow by one place at each step of decoding.

A core reads memory at full speed only where one head's places lie beside the next head's. A room for many more places
than there are leaves gaps between the heads, and reading took up to twice as long. So places are kept in pieces, each
of them full but the last, and attention adds up what the pieces give.

Shapes: B batch, H heads, K key-value heads, G = H / K, E head dimension, T places.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_PLACES = 32  # of a piece
LEAST_BYTES = 2**20  # of the keys of a piece: smaller ones cost more calls than they save reading


class KeyValues:
    """Keys and values in float32, in which attention of single queries is faster than in bfloat16.

    Args:
        keys: keys (B, K, T, E) of the prompts.
        values: values (B, K, T, E) of the prompts.
        room: largest number of places that come after those of the prompts.
    """

    def __init__(self, keys: Tensor, values: Tensor, room: int) -> None:
        """Take what the prompts give, which is never written to."""
        self.pieces = [(keys.float().contiguous(), values.float().contiguous())]
        self.sizes = [keys.shape[2]]  # of the pieces, as far as they are full
        self.room = room
        batch, heads, _, size = keys.shape
        self.least = max(LEAST_PLACES, LEAST_BYTES // (batch * heads * size * torch.float32.itemsize))

    def append(self, key: Tensor, value: Tensor) -> None:
        """Add the key and the value (B, K, E) of one place."""
        if self.sizes[-1] == self.pieces[-1][0].shape[2]:
            self._grow()
        keys, values = self.pieces[-1]
        place = self.sizes[-1]
        keys[:, :, place], values[:, :, place] = key, value
        self.sizes[-1] += 1

    def _grow(self) -> None:
        """Make room, in a piece of its own where the last one is large enough to stay alone."""
        more = min(self.least, self.room - sum(self.sizes[1:]))
        if self.sizes[-1] >= self.least:
            batch, heads, _, size = self.pieces[-1][0].shape
            self.pieces.append((torch.empty(batch, heads, more, size), torch.empty(batch, heads, more, size)))
            self.sizes.append(0)
        else:
            keys, values = self.pieces[-1]
            self.pieces[-1] = _with_room(keys, more), _with_room(values, more)

    def attend(self, query: Tensor, bias: Tensor | None, scale: float) -> Tensor:
        """Attend to all places.

        Args:
            query: queries (B, K, G, E) in float32.
            bias: what is added to the scores (B, 1, 1, T); None for nothing.
            scale: factor of the scores.

        Returns:
            Weighted values (B, K, G, E).
        """
        seen = [
            (keys[:, :, :size], values[:, :, :size])
            for (keys, values), size in zip(self.pieces, self.sizes, strict=True)
        ]
        if len(seen) == 1:
            return F.scaled_dot_product_attention(query, *seen[0], attn_mask=bias, scale=scale)
        scores = torch.cat([query @ keys.transpose(2, 3) for keys, _ in seen], -1).mul_(scale)
        weights = (scores if bias is None else scores.add_(bias)).softmax(-1).split(self.sizes, -1)
        attended = weights[0] @ seen[0][1]
        for weight, (_, values) in zip(weights[1:], seen[1:], strict=True):
            attended += weight @ values
        return attended


def _with_room(states: Tensor, room: int) -> Tensor:
    """Copy states (B, K, T, E) to a tensor with room for more places."""
    batch, heads, length, size = states.shape
    whole = torch.empty(batch, heads, length + room, size)
    whole[:, :, :length] = states
    return whole
