"""Means over a whole held-out set, however its batches are cut and whichever rank had them."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric


class HeldOutMeans(nn.ModuleDict):
    """A mean for each name; values that are not finite numbers are left out.

    Args:
        names: of the means; every rank has the same.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Make one metric for each name."""
        super().__init__({name: MeanMetric(nan_strategy="ignore") for name in names})
        self.reset()

    def reset(self) -> None:
        """Forget all values, also those that another stage may have left as inference tensors."""
        for name, metric in self.items():
            cast(MeanMetric, metric).reset()
            self.add(name, torch.zeros(()), 0)  # a rank without a batch is no reason for a warning

    def add(self, name: str, value: Tensor, count: Tensor | int) -> None:
        """Add a batch.

        Args:
            name: of the mean.
            value: mean over the batch.
            count: number of things (frames, units, utterances) that it is the mean of; 0 adds nothing.
        """
        cast(MeanMetric, self[name]).update(value.detach(), torch.as_tensor(count, dtype=torch.float32))

    def figures(self) -> dict[str, float]:
        """The means over all ranks; a name without a value has none."""
        found = {name: cast(MeanMetric, metric).compute() for name, metric in self.items()}
        return {name: float(mean) for name, mean in found.items() if not mean.isnan()}
