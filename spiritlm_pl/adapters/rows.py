"""Training of some rows of frozen embeddings: the others get no gradient and no optimizer state.

Shapes: V rows of the embedding, D hidden size, N trained rows.
"""

from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn


class TrainedRows(nn.Module):
    """Input embedding whose rows from `first` on are replaced by trained ones; the others stay as they are.

    It takes over the matrix of the layer it replaces under the same name. So tied embeddings and the gathering of
    sharded parameters work as before.
    """

    def __init__(self, layer: nn.Module, rows: nn.Parameter, first: int) -> None:
        """Take over the matrix of a layer.

        Args:
            layer: input embedding of the model.
            rows: trained rows (N, D).
            first: place of the first of them in the embedding.
        """
        super().__init__()
        self.weight = cast(nn.Parameter, layer.weight)
        self.rows, self.first = rows, first
        self.num_rows = len(rows)  # a shard of them has another length
        scale: Any = getattr(layer, "embed_scale", None)  # Gemma 3 multiplies in its embedding
        self.embed_scale: Any
        if isinstance(scale, Tensor):
            self.register_buffer("embed_scale", scale, persistent=False)
        else:
            self.embed_scale = scale

    def forward(self, tokens: Tensor) -> Tensor:
        """Look up token ids (...) as vectors (..., D)."""
        places = tokens - self.first
        trained = F.embedding(places.clamp(0, self.num_rows - 1), self.rows.to(self.weight.dtype))
        own = (places >= 0) & (places < self.num_rows)
        found = F.embedding(tokens, self.weight).where(~own[..., None], trained)
        return found if self.embed_scale is None else found * self.embed_scale
