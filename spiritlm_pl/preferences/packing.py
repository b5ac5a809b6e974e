"""Packing of pairs into rows: both documents of a pair lie in one row, and rows are as short as their tokens allow.

Shapes: P pairs, B rows, T row length, N segments.
"""

import numpy as np
import numpy.typing as npt
import torch

from spiritlm_pl.contracts.batches import PairBatch
from spiritlm_pl.data.collate import collate
from spiritlm_pl.data.packing import PADDING_ID, Rows
from spiritlm_pl.preferences.pairs import Pairs, modalities_of
from spiritlm_pl.vocabulary import Vocabulary


def fill_rows(lengths: npt.NDArray[np.int64], row_length: int) -> list[list[int]]:
    """Put pairs into rows, the longest first, each into the first row with room for it.

    Args:
        lengths: number of tokens of each pair (P,), none above `row_length`.
        row_length: largest number of tokens in a row.

    Returns:
        The places of the pairs of each row.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for place in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[place])
        row = next((number for number, left in enumerate(room) if left >= length), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(row_length)
        rows[row].append(place)
        room[row] -= length
    return rows


def pack(pairs: Pairs, row_length: int, vocabulary: Vocabulary, step: int, filling: int = 0) -> PairBatch:
    """Make a batch of pairs.

    Args:
        pairs: pairs, at least one, none of them with more tokens than a row.
        row_length: largest number of tokens in a row.
        vocabulary: layout of the token ids.
        step: number of the optimizer step that uses the batch.
        filling: number of pairs at the end that are not counted.
    """
    placed = fill_rows(pairs.lengths, row_length)
    length = int(max(pairs.lengths[row].sum() for row in placed))
    tokens = np.full((len(placed), length), PADDING_ID, dtype=pairs.tokens.dtype)
    learnt = np.zeros(tokens.shape, dtype=bool)
    starts: list[int] = []
    padding: list[bool] = []
    segments = np.zeros((len(pairs), 2), dtype=np.int64)
    for number, row in enumerate(placed):
        place = 0
        for pair in row:
            one = pairs[pair]
            for side, continuation in enumerate((one.chosen, one.rejected)):
                document = [*one.prompt, *continuation]
                end = place + len(document)
                tokens[number, place:end] = document
                learnt[number, end - len(continuation) : end] = True
                segments[pair, side] = len(starts)
                starts.append(number * length + place)
                padding.append(False)
                place = end
        if place < length:
            starts.append(number * length + place)
            padding.append(True)
    rows = Rows(tokens, np.array([*starts, tokens.size], dtype=np.int32), np.array(padding))
    packed = collate(rows, step, torch.ones(vocabulary.num_rows, dtype=torch.bool))
    return PairBatch(
        tokens=packed.tokens,
        position_ids=packed.position_ids,
        segment_ids=packed.segment_ids,
        cu_seqlens=packed.cu_seqlens,
        loss_mask=packed.loss_mask & torch.from_numpy(learnt),
        step=step,
        chosen=torch.from_numpy(segments[:, 0].copy()),
        rejected=torch.from_numpy(segments[:, 1].copy()),
        reference=None if pairs.reference is None else torch.from_numpy(pairs.reference.copy()),
        modalities=torch.from_numpy(modalities_of(pairs, vocabulary)),
        counted=torch.arange(len(pairs)) < len(pairs) - filling,
    )
