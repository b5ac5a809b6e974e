"""What strategies share that divide a model over all ranks: saving of shards, and a look at them before they are read.

Each rank looks at its share of the files of a checkpoint, whatever number of ranks wrote them.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch.distributed
from lightning.pytorch.accelerators.cpu import CPUAccelerator
from lightning.pytorch.strategies import ParallelStrategy

from spiritlm_pl.modules.sharded_saving import ShardSaving


class ShardingStrategy(ParallelStrategy):
    """Strategy whose ranks save and load shards of one checkpoint folder."""

    saving: ShardSaving | None = None  # once the ranks have met

    @property
    def on_cpu(self) -> bool:
        """Whether training runs without CUDA."""
        return isinstance(self.accelerator, CPUAccelerator)

    def remove_checkpoint(self, filepath: Any) -> None:
        """Remove a checkpoint when the one that was saved after it is whole."""
        cast(ShardSaving, self.saving).afterwards(partial(super().remove_checkpoint, filepath), even_later=True)

    def teardown(self) -> None:
        """Write the last checkpoint to its end."""
        if self.saving is not None:
            self.saving.finish()
        super().teardown()

    def look_at_shards(self, checkpoint: Path, check: Callable[[Path, int, int], None]) -> None:
        """Check the files of a checkpoint, each rank its share of them; all ranks call.

        Args:
            checkpoint: folder of the checkpoint.
            check: function that is called with the folder, the number of this rank and that of all ranks.

        Raises:
            ValueError: on every rank, if one of them finds damage.
        """
        found: list[str | None] = [None] * self.world_size
        own: str | None = None
        try:
            check(checkpoint, self.global_rank, self.world_size)
        except (OSError, ValueError) as error:
            own = str(error)
        torch.distributed.all_gather_object(found, own, cast(ShardSaving, self.saving).group)
        damage = next((one for one in found if one is not None), None)
        if damage is not None:
            raise ValueError(damage)
