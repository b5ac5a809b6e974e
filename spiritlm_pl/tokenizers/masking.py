"""Masks of HuBERT's training: which frames are hidden, and what stands in their place.

Shapes: B batch, T frames, D encoder dimension.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from spiritlm_pl.contracts.batches import within

LEAST_SPANS = 2  # hidden spans of an utterance, however short


def draw_mask(inside: Tensor, share: float, length: int) -> Tensor:
    """Draw the frames to hide (B, T): spans of one length that begin at frames chosen at random and may overlap.

    As in wav2vec 2.0 (Baevski et al., 2020), as many frames are hidden in each row: of the rows that have more, frames
    chosen at random are shown again. All rows are drawn at once: a loop over spans, as in torchaudio's `MaskGenerator`,
    takes milliseconds.

    Args:
        inside: mask (B, T), True where there is audio, which begins at the first frame.
        share: expected share of hidden frames if spans did not overlap.
        length: number of frames in a span.
    """
    rows, frames = inside.shape
    counts = inside.sum(1)
    noise = torch.rand(rows, frames + 1).to(inside.device)
    spans = (share * counts / length + noise[:, -1]).long().clamp(min=LEAST_SPANS)  # rounded at random
    places = (counts - length + 1).clamp(min=1)  # where a span can begin and end within the audio
    order = noise[:, :-1].masked_fill(~within(places, frames), 2.0).argsort(1).argsort(1)
    begins = (order < torch.minimum(spans, places)[:, None]).float()
    hidden = functional.max_pool1d(functional.pad(begins, (length - 1, 0))[:, None], length, stride=1)[:, 0]
    hidden = hidden.bool() & inside
    least = hidden.sum(1).min()
    kept = torch.rand(rows, frames).to(inside.device).masked_fill(~hidden, 2.0).argsort(1).argsort(1) < least
    return hidden & kept


class MaskEmbedding(nn.Module):
    """Vector (D,) that stands for every hidden frame."""

    def __init__(self, embed_dim: int) -> None:
        """Draw the vector."""
        super().__init__()
        self.mask_embedding = nn.Parameter(torch.empty(embed_dim).uniform_())

    def forward(self, frames: Tensor, hidden: Tensor) -> Tensor:
        """Replace the frames (B, T, D) that are hidden, by a mask (B, T)."""
        return torch.where(hidden[..., None], self.mask_embedding.to(frames.dtype), frames)
