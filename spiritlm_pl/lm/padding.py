"""Sequences of several lengths as one tensor.

Shapes: B batch, T tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def right_pad(sequences: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> Tensor:
    """Pad sequences with zeros on the right, and return tokens (B, T)."""
    longest = max(len(sequence) for sequence in sequences)
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in sequences], device=device)


def left_pad(sequences: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Pad sequences with zeros on the left, and return tokens (B, T) and the mask (B, T), True = keep."""
    length = max(len(sequence) for sequence in sequences)
    tokens = torch.zeros(len(sequences), length, dtype=torch.long)
    mask = torch.zeros(len(sequences), length, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        if sequence:
            tokens[row, -len(sequence) :] = torch.as_tensor(sequence)
            mask[row, -len(sequence) :] = True
    return tokens.to(device), mask.to(device)
