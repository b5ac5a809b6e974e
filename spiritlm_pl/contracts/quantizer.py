"""Contract of quantizers, which turn frame features into units.

A speech tokenizer calls it on the features of an extractor; the training of a CTC quantizer calls it as teacher. It is
a `torch.nn.Module`.

Shapes: B batch, T frames, D feature dimension.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Quantizer(Protocol):
    """Turns frame features into units."""

    @property
    def num_units(self) -> int:
        """Number of different units."""
        ...

    @property
    def feature_dim(self) -> int:
        """Size of the feature vectors that it takes, D."""
        ...

    def __call__(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return units (B, T) int64 of features (B, T, D) with lengths (B,); values after the end are undefined."""
        ...
