"""Contract of quantizers, which turn frame features into units.

A speech tokenizer calls it on the features of an extractor; the training of a CTC quantizer calls it as teacher. It is
a `torch.nn.Module`.

Shapes: B batch, T frames, D feature dimension.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Quantizer(Protocol):
    """Frame features to units."""

    @property
    def num_units(self) -> int:
        """Number of different units."""
        ...

    @property
    def feature_dim(self) -> int:
        """Size of the feature vectors it takes."""
        ...

    def __call__(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Units (B, T) int64 of features (B, T, D); what stands after the end is undefined."""
        ...
