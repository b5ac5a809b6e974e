"""FSDP2 as a Lightning strategy: parameters, gradients and optimizer state of a language model divided over all ranks.

torch's `fully_shard` divides every layer's parameters and gathers them while the layer computes (Zhao et al., 2023;
torchtitan, Liang et al., 2024). Parameters and optimizer state stay float32; with `precision: bf16-mixed` they are
gathered, and layers compute, in bfloat16, as under ZeRO-3 with `bf16-true`. Gradients are summed in float32.
"""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy
from torch.utils._pytree import tree_map_only
from transformers import PreTrainedModel

from spiritlm_pl.interop.distributed import SHARDS, check_shard_files, check_shards, readable, write_shards
from spiritlm_pl.lm.forwards import weights_left_out
from spiritlm_pl.modules.fsdp2_sharding import shard
from spiritlm_pl.modules.sharded_saving import ShardSaving
from spiritlm_pl.modules.sharding_strategy import ShardingStrategy


class GatheredInBfloat16(Precision):
    """Precision of layers whose weights are gathered in bfloat16, so that no operation has to convert them."""

    precision = "bf16-mixed"


class FSDP2Strategy(ShardingStrategy, ModelParallelStrategy):
    """FSDP2 on CUDA over NCCL, or on CPU over gloo."""

    def __init__(
        self,
        offload: bool = False,
        pin_memory: bool = True,
        gather_again: bool = True,
        save_in_background: bool = False,
    ) -> None:
        """Set what is kept where.

        Args:
            offload: whether parameters, gradients and optimizer state live on the host, where the optimizer then steps.
            pin_memory: whether host memory of offloaded state is page-locked, which makes copies faster.
            gather_again: whether a layer's whole weights are freed after its forward, and gathered again for its
                backward; False needs as much more memory as the whole model, and communicates a third less.
            save_in_background: whether training goes on while a checkpoint is written, from a copy in the host's memory
                that is as large as the rank's part.
        """
        super().__init__(tensor_parallel_size=1)
        self.offload, self.pin_memory, self.gather_again = offload, pin_memory, gather_again
        self.save_in_background = save_in_background

    @property
    def precision_plugin(self) -> Precision:
        """Precision of the trainer; mixed precision is left to FSDP2."""
        return super().precision_plugin

    @precision_plugin.setter
    def precision_plugin(self, plugin: Precision | None) -> None:
        self._precision_plugin = GatheredInBfloat16() if isinstance(plugin, MixedPrecision) else plugin

    def setup_environment(self) -> None:
        """Start the process group, with gloo beside NCCL for what lies on the host."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        if not self.on_cpu:
            self._process_group_backend = "cpu:gloo,cuda:nccl"
        super().setup_environment()
        self.saving = ShardSaving(SHARDS, self.save_in_background)

    @contextmanager
    def model_sharded_context(self) -> Generator[None, None, None]:
        """Build networks with weights on rank zero alone, from where `setup` sends them to the others."""
        with nullcontext() if self.is_global_zero else weights_left_out():
            yield

    def setup(self, trainer: Trainer) -> None:
        """Divide the network over the ranks, once, and build the optimizer of what this rank holds."""
        network = self.network
        if not isinstance(network, FSDPModule):
            mixed = isinstance(self.precision_plugin, GatheredInBfloat16)
            shard(
                network,
                self.device_mesh["data_parallel"],
                self.root_device,
                MixedPrecisionPolicy(torch.bfloat16, torch.float32) if mixed else MixedPrecisionPolicy(),
                CPUOffloadPolicy(self.pin_memory) if self.offload else OffloadPolicy(),
                self.gather_again,
            )
        super().setup(trainer)

    @property
    def network(self) -> PreTrainedModel:
        """The language model of the module.

        Raises:
            ValueError: if the module has none.
        """
        found = getattr(self.lightning_module, "network", None)
        if not isinstance(found, PreTrainedModel):
            raise ValueError(
                f"--trainer.strategy must be auto or ddp with {type(self.lightning_module).__name__}, as FSDP2Strategy "
                "divides language models only"
            )
        return found

    def model_to_device(self) -> None:
        """Leave the network where `setup` has put it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Save what each rank holds; the folder takes its name when it is whole.

        Raises:
            OSError: on every rank, if one of them cannot write its part. A folder of this name is unchanged then.
        """
        saving, target = cast(ShardSaving, self.saving), Path(self.broadcast(str(filepath)))
        folder = saving.begin(target) / SHARDS
        tensors = {"state_dict": checkpoint.pop("state_dict")}
        for number, state in enumerate(checkpoint.pop("optimizer_states", ())):
            tensors[f"optimizer_{number}"] = state
        if not saving.waits and (self.on_cpu or self.offload):  # other state was copied to the host
            tensors = tree_map_only(Tensor, Tensor.clone, tensors)
        rest = BytesIO()
        if self.is_global_zero:
            torch.save(checkpoint, rest)
        saving.save(target, partial(write_shards, tensors, rest.getvalue(), folder, saving.group))

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Load a checkpoint that any number of ranks wrote.

        Raises:
            ValueError: if the checkpoint is damaged or of another strategy.
        """
        cast(ShardSaving, self.saving).finish()
        checkpoint = Path(self.broadcast(str(checkpoint_path)))
        check_shards(checkpoint)
        self.look_at_shards(checkpoint, check_shard_files)
        with readable(checkpoint):
            return super().load_checkpoint(checkpoint / SHARDS, weights_only)
