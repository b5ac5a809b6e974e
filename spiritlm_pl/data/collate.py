"""Conversion of compact rows, as a worker of a data loader returns them, to batches of the language model.

Shapes: B rows, T row length, N segments.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.data.packing import Rows
from spiritlm_pl.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class LossOn:
    """Choice of the tokens that are predicted. The end of a document is predicted always, where it has a token.

    Args:
        text: whether tokens of text are predicted.
        speech: whether units are predicted, and pitch and style tokens where there are any.
        markers: whether modality tokens within a document and task markers are predicted.
    """

    text: bool = True
    speech: bool = True
    markers: bool = True

    def __post_init__(self) -> None:
        """Check that something is predicted."""
        if not (self.text or self.speech or self.markers):
            raise ValueError("loss_on must predict text, speech or markers, but all three are false instead")

    def table(self, vocabulary: Vocabulary) -> Tensor:
        """Return a mask over token ids, True for those that are predicted; (num_rows,), one per embedding row."""
        table = torch.full((vocabulary.num_rows,), self.markers)
        table[: vocabulary.num_text] = self.text
        first, end = vocabulary.speech_bounds
        table[first:end] = self.speech
        if vocabulary.end_of_document is not None:
            table[vocabulary.end_of_document] = True
        return table


def collate(rows: Rows, step: int, predicted: Tensor) -> TokenBatch:
    """Make the batch of some rows.

    The first token of a segment is never predicted, since nothing of its document comes before it.

    Args:
        rows: packed rows in compact form.
        step: number of the optimizer step that uses the rows.
        predicted: mask over token ids (num_rows,), True for those that are predicted, from `LossOn.table`.
    """
    size = rows.tokens.shape
    starts = rows.cu_seqlens[:-1].astype(np.int64)
    lengths = np.diff(rows.cu_seqlens)
    row = starts // size[1]
    numbers = np.arange(len(starts)) - np.searchsorted(row, np.arange(size[0]))[row]  # of each segment in its row
    numbers[rows.padding] = -1
    tokens = torch.from_numpy(rows.tokens.astype(np.int64))
    positions = torch.from_numpy((np.arange(tokens.numel()) - np.repeat(starts, lengths)).reshape(size))
    segments = torch.from_numpy(np.repeat(numbers, lengths).reshape(size))
    loss_mask = predicted[tokens]
    if rows.learnt is not None:
        loss_mask &= torch.from_numpy(rows.learnt)
    loss_mask[segments < 0] = False
    loss_mask.view(-1)[torch.from_numpy(starts)] = False
    return TokenBatch(
        tokens=tokens,
        position_ids=positions,
        segment_ids=segments,
        cu_seqlens=torch.from_numpy(rows.cu_seqlens),
        loss_mask=loss_mask,
        step=step,
    )
