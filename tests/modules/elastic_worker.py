"""Trains a tiny LM on blocks under ZeRO-3 or FSDP2; started on several numbers of ranks by test_elastic.py.

Usage: elastic_worker.py FOLDER BLOCKS BASE_MODEL RANKS LAST_STEP [OPTION=VALUE ...]
Writes FOLDER/losses-RANKS.json (rank zero: loss and gradient norm of every step) and FOLDER/step=N.ckpt; goes on from
the newest checkpoint in FOLDER. Options: freeze=NAME (parameters that are not trained), below=NUMBER (parameters with
fewer elements stay whole), precision=..., group=NUMBER (elements that the optimizer steps at one time),
die=RANK:STEP (the rank is killed before the step), full=RANK:STEP (its disk is full when it saves after the step),
measure=1 (validate the newest checkpoint instead, and print the loss), engine=fsdp2 or one (instead of zero3),
clip=NORM, export=1 (to FOLDER/export), background=1 (checkpoints are written in a thread), recompute=1 (layers, in the
backward pass), offload=1 (FSDP2's state, with weights that stay whole until the backward pass).
"""

import json
import os
import resource
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch.distributed.tensor import DTensor, distribute_tensor

from spiritlm_pl.callbacks.checkpoints import PatientCheckpoint
from spiritlm_pl.callbacks.watch_ranks import WatchRanks
from spiritlm_pl.datamodules.interleaved import InterleavedDataModule, StreamConfig
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.optimizer import OptimizerSettings
from spiritlm_pl.lm.schedule import Cosine
from spiritlm_pl.modules.fsdp2 import FSDP2Strategy
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.modules.strategy import Zero3Strategy
from spiritlm_pl.runtime.checkpoint import newest_checkpoint

ROWS = 12  # in a step, on any number of ranks


class Partly(LanguageModelModule):
    frozen: str | None = None

    def configure_model(self) -> None:
        super().configure_model()
        for name, parameter in self.network.named_parameters():
            if self.frozen and self.frozen in name:
                parameter.requires_grad_(False)


class Losses(Callback):
    def __init__(self) -> None:
        self.values: dict[int, list[float]] = {}

    def on_train_batch_start(self, trainer, *args):
        if "train/gradient_norm" in trainer.callback_metrics:  # not before the first step
            pair = [float(trainer.callback_metrics[f"train/{name}"]) for name in ("loss", "gradient_norm")]
            self.values.setdefault(trainer.global_step, pair)

    on_train_end = on_train_batch_start


class Death(Callback):
    """Kills a rank before a step: die=RANK:STEP."""

    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def on_train_batch_start(self, trainer, *args):
        if (trainer.global_rank, trainer.global_step) == (self.rank, self.step):
            os.kill(os.getpid(), signal.SIGKILL)


class FullDisk(Callback):
    """Lets a rank find no room for its shards after a step: full=RANK:STEP."""

    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def on_train_start(self, trainer, *args):
        if trainer.global_rank == self.rank:
            strategy = trainer.strategy
            if strategy.save_in_background:
                strategy.saving._save = self.without_room(strategy.saving._save, lambda given: given[0])
            else:
                strategy.save_checkpoint = self.without_room(strategy.save_checkpoint, lambda given: given[1])

    def without_room(self, save, path_of):
        def saved(*given, **named):
            unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
            if f"step={self.step}" in Path(path_of(given)).name:
                resource.setrlimit(resource.RLIMIT_FSIZE, (5000, unlimited[1]))
            try:
                return save(*given, **named)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

        return saved


class Beginning(Callback):
    """Changes frozen weights when training begins anew, so that they are not those of the base model.

    When training goes on, what was loaded is saved at once, in FOLDER/start-RANKS.
    """

    def on_train_start(self, trainer, pl_module):
        if trainer.global_step > 0:
            trainer.save_checkpoint(Path(sys.argv[1]) / f"start-{trainer.world_size}")
        else:
            frozen = [parameter for parameter in pl_module.parameters() if not parameter.requires_grad]
            for parameter in frozen:
                with whole(parameter) as values:
                    torch.nn.init.normal_(values, std=0.1, generator=torch.Generator().manual_seed(5))


@contextmanager
def whole(parameter):
    """All of a parameter, which becomes what it is set to in this context."""
    if not hasattr(parameter, "ds_id") and not isinstance(parameter, DTensor):
        yield parameter.data
    elif isinstance(parameter, DTensor):
        values = parameter.full_tensor()
        yield values
        placed = distribute_tensor(values, parameter.device_mesh, parameter.placements)
        parameter.data.copy_(placed)
    else:
        import deepspeed

        with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
            yield parameter.data


def strategy(options):
    if options.get("engine") == "one":
        return "auto"
    if options.get("engine") == "fsdp2":
        return FSDP2Strategy(
            offload="offload" in options,
            pin_memory=False,
            gather_again="offload" not in options,
            save_in_background="background" in options,
        )
    return Zero3Strategy(
        persistent_below=int(options.get("below", 0)),
        pin_memory=False,
        sub_group_size=int(options.get("group", 1_000_000_000)),
        save_in_background="background" in options,
    )


def main() -> None:
    folder, blocks, base = (Path(word) for word in sys.argv[1:4])
    ranks, last = (int(word) for word in sys.argv[4:6])
    options = dict(word.split("=", 1) for word in sys.argv[6:])
    lightning.seed_everything(1)
    module = Partly(
        LanguageModelConfig(
            checkpoint=str(base),
            dtype="bfloat16" if options.get("precision") == "bf16-true" else "float32",
            gradient_checkpointing="recompute" in options,
        ),
        optimizer=OptimizerSettings(lr=1e-2, weight_decay=0.9),  # which makes it plain if norms were decayed
        schedule=Cosine(total_steps=20, warmup_steps=3),
    )
    module.frozen = options.get("freeze")
    losses = Losses()
    saves = PatientCheckpoint(
        folder, filename="{step}", every_n_train_steps=3, save_top_k=3, monitor="step", mode="max", save_last="link"
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=ranks,
        max_steps=last,
        logger=False,
        precision=options.get("precision", "32-true"),
        gradient_clip_val=float(options.get("clip", 1.0)),
        strategy=strategy(options),
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1 if "measure" in options else 0,
        callbacks=[losses, saves, Beginning(), WatchRanks(grace=5)],
    )
    if "die" in options:
        trainer.callbacks.append(Death(*map(int, options["die"].split(":"))))
    if "full" in options:
        trainer.callbacks.append(FullDisk(*map(int, options["full"].split(":"))))
    streams = {kind: StreamConfig(folder=str(blocks)) for kind in ("text", "aligned")}
    data = InterleavedDataModule(streams, row_length=64, batch_size=ROWS // ranks, num_workers=0)
    if "measure" in options:
        trainer.validate(module, data, ckpt_path=newest_checkpoint(folder), verbose=False)
        if trainer.is_global_zero:
            print("measured:", float(trainer.callback_metrics["val/loss"]))
        return
    trainer.fit(module, datamodule=data, ckpt_path=newest_checkpoint(folder))
    if "export" in options:
        module.export(str(folder / "export"))
    if trainer.is_global_zero:
        (folder / f"losses-{ranks}.json").write_text(json.dumps(losses.values))


if __name__ == "__main__":
    main()
