"""Trains a tiny LM on blocks and writes the loss of every step; started, killed and resumed by test_lm_killed.py.

Usage: train_lm.py BLOCKS FOLDER LAST_STEP DIE_AT WORKERS
"""

import os
import signal
import sys
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from spiritlm_pl.datamodules.interleaved import InterleavedDataModule, StreamConfig
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.optimizer import OptimizerSettings
from spiritlm_pl.lm.schedule import Cosine
from spiritlm_pl.modules.lm import LanguageModelModule

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


class Record(Callback):
    def __init__(self, log: Path, die_at: int) -> None:
        self.path, self.die_at = log, die_at

    def on_train_batch_end(self, trainer, *args):
        with self.path.open("a") as stream:
            loss, norm = (float(trainer.callback_metrics[f"train/{name}"]) for name in ("loss", "gradient_norm"))
            print(trainer.global_step, loss.hex(), norm.hex(), file=stream)
        if trainer.global_step == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    blocks, folder = Path(sys.argv[1]), Path(sys.argv[2])
    last_step, die_at, workers = (int(value) for value in sys.argv[3:])
    lightning.seed_everything(7)
    streams = {kind: StreamConfig(folder=str(blocks)) for kind in ("text", "aligned")}
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=last_step,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        gradient_clip_val=1.0,
        limit_val_batches=0,
        callbacks=[
            ModelCheckpoint(
                folder,
                every_n_train_steps=3,
                filename="{step}",
                save_top_k=1,
                monitor="step",
                mode="max",
                save_last=True,
            ),
            Record(folder / "losses.txt", die_at),
        ],
    )
    last = folder / "last.ckpt"
    trainer.fit(
        LanguageModelModule(
            LanguageModelConfig(config=LLAMA),
            optimizer=OptimizerSettings(lr=1e-2),
            schedule=Cosine(total_steps=20, warmup_steps=3),
        ),
        datamodule=InterleavedDataModule(streams, row_length=64, batch_size=2, num_workers=workers),
        ckpt_path=last if last.exists() else None,
    )


if __name__ == "__main__":
    main()
