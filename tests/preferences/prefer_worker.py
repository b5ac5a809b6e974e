"""Tunes a tiny LM on stored pairs with DPO; started by test_engines.py.

Usage: prefer_worker.py FOLDER ENGINE RANKS LAST_STEP MODEL PAIRS ADAPTER(yes|no) [CHECKPOINT]
Writes FOLDER/losses.json (rank zero: loss, gradient norm and margin of every step), FOLDER/step=N.ckpt and
FOLDER/export.
"""

import json
import sys
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from spiritlm_pl.adapters.settings import LoRA
from spiritlm_pl.datamodules.preferences import PreferenceDataModule
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.optimizer import OptimizerSettings
from spiritlm_pl.lm.schedule import Constant
from spiritlm_pl.modules.fsdp2 import FSDP2Strategy
from spiritlm_pl.modules.prefer import PreferenceModule
from spiritlm_pl.modules.strategy import Zero3Strategy
from spiritlm_pl.preferences.losses import DPO

PAIRS = 4  # of a step, on all ranks together
FIGURES = ("loss", "gradient_norm", "reward_margin")


class Figures(Callback):
    def __init__(self) -> None:
        self.values: dict[int, list[float]] = {}

    def on_train_batch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        if "train/gradient_norm" in trainer.callback_metrics:  # not before the first step
            found = [float(trainer.callback_metrics[f"train/{name}"]) for name in FIGURES]
            self.values.setdefault(trainer.global_step, found)

    on_train_end = on_train_batch_start


def strategy(engine: str) -> Any:
    if engine == "zero3":
        return Zero3Strategy(persistent_below=0, pin_memory=False)
    return FSDP2Strategy(pin_memory=False) if engine == "fsdp2" else engine


def main() -> None:
    folder, engine, ranks, last, model, pairs, adapter = sys.argv[1:8]
    figures = Figures()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=int(ranks),
        strategy=strategy(engine),
        max_steps=int(last),
        gradient_clip_val=1.0,
        logger=False,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[figures, ModelCheckpoint(folder, filename="{step}", every_n_train_steps=2, save_top_k=-1)],
    )
    lightning.seed_everything(1)
    module = PreferenceModule(
        LanguageModelConfig(checkpoint=model),
        DPO(0.5),
        optimizer=OptimizerSettings(lr=1e-2),
        schedule=Constant(warmup_steps=0),
        adapter=LoRA(rank=4, alpha=8) if adapter == "yes" else None,
    )
    data = PreferenceDataModule(pairs, row_length=64, pairs_per_batch=PAIRS // int(ranks), num_workers=0)
    trainer.fit(module, datamodule=data, ckpt_path=sys.argv[8] if len(sys.argv) > 8 else None)
    module.export(str(Path(folder) / "export"))
    if trainer.is_global_zero:
        found = {**figures.values, "held out": float(trainer.callback_metrics["val/loss"])}
        (Path(folder) / "losses.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
