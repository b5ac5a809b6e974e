"""Strategies that the trainer commands refuse before they begin."""

from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import DeepSpeedStrategy, ModelParallelStrategy
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from spiritlm_pl.interop.distributed import has_shards
from spiritlm_pl.modules.elastic import ranks_of
from spiritlm_pl.modules.sharding_strategy import ShardingStrategy


def check_start(trainer: Trainer, strategy: Any) -> None:
    """Refuse a strategy that cannot run: one that pickles the model and the command's parser, or Lightning's on a CPU.

    Args:
        trainer: the trainer, whose strategy will start processes.
        strategy: name of the strategy in the trainer's configuration, or the strategy.

    Raises:
        ValueError: if it starts further processes by pickling, since vocoders and parsers cannot be pickled, or is
            Lightning's own for DeepSpeed, and there is no GPU.
    """
    named = strategy if isinstance(strategy, str) else type(trainer.strategy).__name__
    deepspeed, own = (isinstance(trainer.strategy, kind) for kind in (DeepSpeedStrategy, ShardingStrategy))
    if deepspeed and not own and isinstance(trainer.accelerator, CPUAccelerator):
        raise ValueError(
            f"--trainer.strategy must be one that runs on a CPU, such as parts/strategy/zero3, but is {named} instead, "
            "which needs a GPU"
        )
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _MultiProcessingLauncher) and not launcher.is_interactive_compatible:  # which a fork is
        raise ValueError(
            "--trainer.strategy must be one of which each process runs the command itself, such as ddp, but is "
            f"{named} instead, which sends the model to processes of its own"
        )


def check_strategy(checkpoint: str | None, trainer: Trainer) -> None:
    """Refuse to go on from a checkpoint that another kind of strategy wrote.

    Args:
        checkpoint: path of the checkpoint; None for none.
        trainer: the trainer, whose strategy will load it.

    Raises:
        ValueError: if the checkpoint is a folder of shards and the strategy is not of the kind that wrote them, or the
            checkpoint is no such folder and the strategy needs one.
    """
    if checkpoint is None or not Path(checkpoint).exists():
        return
    path, strategy = Path(checkpoint), trainer.strategy
    wrote = "DeepSpeed" if ranks_of(path) else "FSDP2" if has_shards(path) else "another"
    kinds = (("DeepSpeed", DeepSpeedStrategy), ("FSDP2", ModelParallelStrategy))
    is_now = next((name for name, kind in kinds if isinstance(strategy, kind)), "another")
    if wrote != is_now:
        raise ValueError(
            f"--trainer.strategy must be of the kind that wrote the checkpoint, {wrote} for {checkpoint}, but is "
            f"{is_now} ({type(strategy).__name__}); `spiritlm consolidate` makes a model folder of either, "
            "with which as --model.init_args.network.checkpoint another training can begin"
        )
