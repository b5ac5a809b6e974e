"""Means over a whole held-out set, however its batches are cut and whichever rank had them."""

from collections.abc import Iterable

import torch
from torch import Tensor

from spiritlm_pl.tokenizers.kmeans import sum_over_ranks


class HeldOutMeans:
    """A mean for each name.

    Args:
        names: of the means; every rank has the same.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Start with nothing."""
        self.names = tuple(names)
        self.reset()

    def reset(self, device: torch.device | str = "cpu") -> None:
        """Forget all values.

        Args:
            device: of the values that come.
        """
        self.sums = torch.zeros(len(self.names), 2, dtype=torch.float64, device=device)  # of values, and their counts

    def add(self, name: str, value: Tensor, count: Tensor | int) -> None:
        """Add a batch.

        Args:
            name: of the mean.
            value: mean over the batch. One that is no number makes the whole mean none, as training needs to be told.
            count: number of things (frames, units, utterances) that it is the mean of; 0 adds nothing.
        """
        number = torch.as_tensor(count, dtype=torch.float64, device=self.sums.device)
        total = torch.where(number > 0, value.detach().double() * number, 0.0)
        self.sums[self.names.index(name)] += torch.stack([total, number])

    def figures(self) -> dict[str, float]:
        """The means over all ranks; a name without a value has none."""
        sums = dict(zip(self.names, sum_over_ranks(self.sums.clone()).tolist(), strict=True))
        return {name: total / count for name, (total, count) in sums.items() if count}
