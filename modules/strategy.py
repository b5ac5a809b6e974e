"""ZeRO-3 as a Lightning strategy that also runs on a CPU over gloo, and gathering of sharded weights.

DeepSpeed divides parameters, gradients and optimizer state over the ranks (Rajbhandari et al., 2020). Lightning's own
strategy accepts CUDA only; on a CPU the same code serves tests and trials.
"""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.plugins.precision import DeepSpeedPrecision, Precision
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers.integrations.deepspeed import HfDeepSpeedConfig

from spiritlm_pl.interop.deepspeed import TAG, check_zero_files
from spiritlm_pl.modules.elastic import load_weights, make_universal, ranks_of, read_weights, restore_rest
from spiritlm_pl.modules.sharded_saving import ShardSaving, files_noted
from spiritlm_pl.modules.sharding_strategy import ShardingStrategy

SMALL = 100_000  # parameters with fewer elements stay whole on every rank


class IntegerBatches(DeepSpeedPrecision):
    """DeepSpeed's precision for batches of token ids, which are frozen and have nothing to convert."""

    def convert_input(self, data: Any) -> Any:
        """Return the batch unchanged."""
        return data

    def backward(self, tensor: Tensor, model: Any, *args: Any, **kwargs: Any) -> None:
        """Back-propagate a loss that Lightning has already divided by the number of accumulated batches."""
        super().backward(tensor, model, *args, scale_wrt_gas=False, **kwargs)


class Zero3Strategy(ShardingStrategy, DeepSpeedStrategy):
    """DeepSpeed ZeRO stage 3 on CUDA over NCCL, or on CPU over gloo."""

    def __init__(
        self,
        offload_optimizer: bool = False,
        offload_parameters: bool = False,
        pin_memory: bool = True,
        bucket_size: int = 200_000_000,
        sub_group_size: int = 1_000_000_000,
        persistent_below: int = SMALL,
        save_in_background: bool = False,
    ) -> None:
        """Set what is sharded, and where it lives.

        Args:
            offload_optimizer: whether optimizer state lives on the host, where the optimizer then steps.
            offload_parameters: whether parameters live on the host, too.
            pin_memory: whether host memory of offloaded state is page-locked, which makes copies faster.
            bucket_size: number of elements that are reduced or gathered at one time.
            sub_group_size: number of elements that the optimizer steps at one time.
            persistent_below: number of elements below which a parameter stays whole on every rank.
            save_in_background: whether training goes on while a checkpoint is written, from a copy in the host's memory
                that is as large as the rank's part.
        """
        device = {"device": "cpu", "pin_memory": pin_memory}
        zero: dict[str, Any] = {
            "stage": 3,
            "contiguous_gradients": True,
            "overlap_comm": True,
            "reduce_scatter": True,
            "reduce_bucket_size": bucket_size,
            "stage3_prefetch_bucket_size": bucket_size // 4,
            "stage3_param_persistence_threshold": persistent_below,
            "sub_group_size": sub_group_size,
        }
        if offload_optimizer:
            zero["offload_optimizer"] = device
        if offload_parameters:
            zero["offload_param"] = device
        super().__init__(
            config={
                "zero_optimization": zero,
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
                "train_micro_batch_size_per_gpu": 1,  # DeepSpeed only prints it
            }
        )
        self.save_in_background = save_in_background
        self._alive: HfDeepSpeedConfig | None = None

    @property
    def precision_plugin(self) -> Precision:
        """Precision of the trainer, adapted to batches of token ids."""
        return super().precision_plugin

    @precision_plugin.setter
    def precision_plugin(self, plugin: Precision | None) -> None:
        if isinstance(plugin, DeepSpeedPrecision):
            plugin = IntegerBatches(cast(Any, plugin.precision))
        self._precision_plugin = plugin

    @property
    def root_device(self) -> torch.device:
        """Device of this rank, with an index on a CPU as well, since DeepSpeed needs one."""
        return torch.device("cpu", self.local_rank) if self.on_cpu else super().root_device

    def setup_environment(self) -> None:
        """Start the process group; on a CPU without Lightning's check for CUDA."""
        if not self.on_cpu:
            super().setup_environment()
            return
        os.environ["DS_ACCELERATOR"] = "cpu"
        self._process_group_backend = "gloo"
        DDPStrategy.setup_environment(self)

    def setup_distributed(self) -> None:
        """Join the other ranks; on a CPU without Lightning's check of device indices."""
        if self.on_cpu:
            self.set_world_ranks()
            self._init_deepspeed_distributed()
        else:
            super().setup_distributed()
        self.saving = ShardSaving(TAG, self.save_in_background)

    @contextmanager
    def model_sharded_context(self) -> Generator[None, None, None]:
        """Shard what is built within the context; `from_pretrained` of `transformers` shards while it loads, too."""
        self._init_config_if_needed()
        self._alive = HfDeepSpeedConfig(self.config)  # transformers looks for a live object of this class
        with super().model_sharded_context():
            yield

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Save the shards of all ranks; the folder takes its name when it is whole.

        Raises:
            OSError: on every rank, if one of them cannot write its part. A folder of this name is unchanged then.
        """
        saving, target = cast(ShardSaving, self.saving), Path(self.broadcast(filepath))
        temporary = saving.begin(target)
        engine: Any = self.deepspeed_engine
        state = {name: value for name, value in checkpoint.items() if name not in ("state_dict", "optimizer_states")}
        with files_noted(engine, kept=not saving.waits) as files:
            engine.save_checkpoint(
                str(temporary),
                client_state=state,
                tag=TAG,
                save_latest=False,
                exclude_frozen_parameters=self.exclude_frozen_parameters,
            )
        saving.save(target, files.write)

    def _on_rank_zero(self, action: Callable[[], object]) -> None:
        """Let rank zero do something while the others wait; if it fails, it fails on every rank.

        Raises:
            OSError, ValueError: whatever rank zero met with.
        """
        failure: OSError | ValueError | None = None
        if self.is_global_zero:
            try:
                action()
            except (OSError, ValueError) as error:
                failure = error
        failure = self.broadcast(failure)
        if failure is not None:
            raise failure

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Load a checkpoint to train on, on any number of ranks, or its weights to be measured.

        Raises:
            ValueError: if the checkpoint is damaged, or another number of ranks wrote it and it cannot be converted.
        """
        checkpoint, engine = Path(checkpoint_path), cast(Any, self.deepspeed_engine)
        ranks = ranks_of(checkpoint)
        self.look_at_shards(checkpoint, check_zero_files)
        fitting = self.lightning_module is not None and self.lightning_module.trainer.state.fn == TrainerFn.FITTING
        if ranks == 0 or (fitting and ranks == self.world_size):
            return super().load_checkpoint(checkpoint_path, weights_only)
        if not fitting:
            weights: list[dict[str, Tensor]] = []
            self._on_rank_zero(lambda: weights.append(read_weights(checkpoint)))
            return load_weights(engine.module, checkpoint, weights[0] if weights else None)
        rank_zero_info(f"{ranks} ranks wrote {checkpoint}: it is converted for {self.world_size}, if it was not before")
        self._on_rank_zero(lambda: make_universal(checkpoint))
        engine._config.load_universal_checkpoint = True
        try:
            state = super().load_checkpoint(checkpoint_path, weights_only)
        finally:
            engine._config.load_universal_checkpoint = False
        restore_rest(engine, checkpoint)
        return state


def gather_weights(network: nn.Module, keep: bool, trained: bool = False) -> dict[str, Tensor] | None:
    """Return all weights of a network on the CPU, also of one sharded by ZeRO-3 or FSDP2; every rank must call.

    Args:
        network: network whose weights are gathered, sharded or not.
        keep: whether this rank wants the weights, as rank zero does. Parameters are gathered one at a time.
        trained: whether to gather those alone that are trained, as an adapter is.

    Returns:
        Weights by name on the CPU if `keep`, else None.
    """
    weights: dict[str, Tensor] = {}
    first_names: dict[int, str] = {}  # tied parameters stay one tensor
    for name, value in network.state_dict(keep_vars=True).items():
        if trained and not value.requires_grad:
            continue
        first = first_names.setdefault(id(value), name)
        if first != name:
            if keep:
                weights[name] = weights[first]
        elif hasattr(value, "ds_id"):
            import deepspeed

            with deepspeed.zero.GatheredParameters([value]):
                if keep:
                    weights[name] = value.detach().to("cpu", copy=True)
        else:
            whole = value.full_tensor() if isinstance(value, DTensor) else value
            if keep:
                weights[name] = whole.detach().to("cpu")
    return weights if keep else None
