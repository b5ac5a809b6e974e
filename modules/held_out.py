"""Means over a whole held-out set, however it is divided into batches and over ranks."""

from collections.abc import Iterable

import torch
from torch import Tensor

from spiritlm_pl.tokenizers.kmeans import sum_over_ranks


class HeldOutMeans:
    """Named means.

    Args:
        names: names of the means, the same on every rank.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Start without values."""
        self.names = tuple(names)
        self.reset()

    def reset(self, device: torch.device | str = "cpu") -> None:
        """Discard all values.

        Args:
            device: device of the values that will be added.
        """
        self.sums = torch.zeros(len(self.names), 2, dtype=torch.float64, device=device)  # sums, counts

    def add(self, name: str, value: Tensor, count: Tensor | int) -> None:
        """Add the mean of a batch.

        Args:
            name: name of the mean.
            value: mean over the batch, a scalar. If it is nan, the whole mean becomes nan, so that the fault is seen.
            count: number of items (frames, units, utterances) that `value` is the mean of; 0 adds nothing.
        """
        number = torch.as_tensor(count, dtype=torch.float64, device=self.sums.device)
        total = torch.where(number > 0, value.detach().double() * number, 0.0)
        self.sums[self.names.index(name)] += torch.stack([total, number])

    def figures(self) -> dict[str, float]:
        """Return the means over all ranks; a name without values is left out."""
        sums = dict(zip(self.names, sum_over_ranks(self.sums.clone()).tolist(), strict=True))
        return {name: total / count for name, (total, count) in sums.items() if count}
