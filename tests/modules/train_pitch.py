"""Trains a tiny pitch VQ-VAE and writes its state; started, killed, resumed and doubled by test_pitch_runs.py.

Usage: train_pitch.py CORPUS FOLDER LAST_STEP DIE_AT DEVICES
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from spiritlm_pl.datamodules.f0 import F0DataModule
from spiritlm_pl.lm.schedule import Cosine
from spiritlm_pl.modules.pitch import PitchModule
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAEConfig


class Accidents(Callback):
    """A batch of one rank that is not finite, and an end by force."""

    def __init__(self, die_at: int) -> None:
        self.die_at = die_at

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 2 and trainer.global_rank == trainer.world_size - 1:
            batch.contours[0, 0, 5] = torch.nan

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    corpus, folder = sys.argv[1], Path(sys.argv[2])
    last_step, die_at, devices = (int(value) for value in sys.argv[3:])
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_steps=last_step,
        gradient_clip_val=1.0,
        limit_val_batches=0,
        use_distributed_sampler=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder, every_n_train_steps=3, save_last=True), Accidents(die_at)],
    )
    config = PitchVQVAEConfig(num_codes=8, dim=8, width=8, depth=2, f0_scale=20.0, decay=0.8)
    module = PitchModule(config, learning_rate=1e-2, schedule=Cosine(total_steps=20, warmup_steps=3))
    data = F0DataModule([corpus], "yin", crop_frames=32, batch_seconds=0.32)
    last = folder / "last.ckpt"
    trainer.fit(module, data, ckpt_path=last if last.exists() else None)
    optimizer = trainer.optimizers[0].state_dict()["state"]
    moments = {f"{n}.{k}": v for n, state in optimizer.items() for k, v in state.items()}
    skipped = {"skipped": torch.tensor(module.skipped.total)}
    torch.save(module.state_dict() | moments | skipped, folder / f"rank{trainer.global_rank}.pt")


if __name__ == "__main__":
    main()
