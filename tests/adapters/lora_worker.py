"""Trains an adapter of a tiny LM on rows made up from the step; started by test_training.py.

Usage: lora_worker.py FOLDER ENGINE RANKS FIRST_STEP LAST_STEP BASE_MODEL [CHECKPOINT]
The engines bits4 and bits8 quantize the frozen weights.
Writes FOLDER/losses.json (rank zero: loss and gradient norm of every step), FOLDER/step=N.ckpt and FOLDER/export.
"""

import json
import sys
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.utils.data import DataLoader, Dataset

from spiritlm_pl.adapters.settings import LoRA
from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.folder import read_vocabulary
from spiritlm_pl.lm.optimizer import OptimizerSettings
from spiritlm_pl.lm.schedule import Constant
from spiritlm_pl.modules.fsdp2 import FSDP2Strategy
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.modules.strategy import Zero3Strategy
from spiritlm_pl.vocabulary import Vocabulary

ROWS, DOCUMENT = 4, 16
QUANTIZED: dict[str, Any] = {"bits4": 4, "bits8": 8}


class Rows(Dataset[TokenBatch]):
    def __init__(self, rank: int, world: int, first: int, vocabulary: Vocabulary) -> None:
        self.rank, self.world, self.first, self.vocabulary = rank, world, first, vocabulary

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> TokenBatch:
        step = self.first + index
        generator = torch.Generator().manual_seed(step)
        steps = torch.randint(1, 4, (ROWS, 2 * DOCUMENT), generator=generator)
        mine = slice(self.rank * ROWS // self.world, (self.rank + 1) * ROWS // self.world)
        tokens = (self.vocabulary.num_text - 10 + steps.cumsum(1) % 30)[mine]
        positions = torch.arange(DOCUMENT).repeat(2).expand_as(tokens)
        return TokenBatch(
            tokens=tokens,
            position_ids=positions,
            segment_ids=torch.arange(2).repeat_interleave(DOCUMENT).expand_as(tokens),
            cu_seqlens=torch.arange(0, tokens.numel() + 1, DOCUMENT, dtype=torch.int32),
            loss_mask=positions > 0,
            step=step,
        )


class Losses(Callback):
    def __init__(self) -> None:
        self.values: dict[int, list[float]] = {}

    def on_train_batch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        if "train/gradient_norm" in trainer.callback_metrics:  # not before the first step
            pair = [float(trainer.callback_metrics[f"train/{name}"]) for name in ("loss", "gradient_norm")]
            self.values.setdefault(trainer.global_step, pair)

    on_train_end = on_train_batch_start


class Data(lightning.LightningDataModule):
    """What `spiritlm_pl.contracts.data_modules.TokenData` asks, and no more."""

    row_length = 16
    text_fingerprint = units_per_second = None
    val_streams = test_streams = ()

    def __init__(self, first: int, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.first, self.vocabulary = first, vocabulary

    def train_dataloader(self) -> DataLoader[TokenBatch]:
        rows = Rows(self.trainer.global_rank, self.trainer.world_size, self.first, self.vocabulary)
        return DataLoader(rows, batch_size=None)


def strategy(engine: str) -> Any:
    if engine == "zero3":
        return Zero3Strategy(persistent_below=0, pin_memory=False)
    return FSDP2Strategy(pin_memory=False) if engine == "fsdp2" else "auto" if engine in QUANTIZED else engine


def main() -> None:
    folder, engine = Path(sys.argv[1]), sys.argv[2]
    ranks, first, last = (int(value) for value in sys.argv[3:6])
    base, checkpoint = sys.argv[6], sys.argv[7] if len(sys.argv) > 7 else None
    lightning.seed_everything(1)
    module = LanguageModelModule(
        LanguageModelConfig(checkpoint=base),
        optimizer=OptimizerSettings(lr=1e-2),
        schedule=Constant(3),
        adapter=LoRA(rank=4, alpha=8, bits=QUANTIZED.get(engine)),
    )
    losses = Losses()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=ranks,
        max_steps=last,
        logger=False,
        gradient_clip_val=1.0,
        strategy=strategy(engine),
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[losses, ModelCheckpoint(folder, filename="{step}", every_n_train_steps=2, save_top_k=-1)],
    )
    trainer.fit(module, datamodule=Data(first, read_vocabulary(base)), ckpt_path=checkpoint)
    if engine == "zero3":
        assert all(parameter.numel() == 0 for parameter in module.parameters()), "not sharded"
    module.export(str(folder / "export"))
    if trainer.is_global_zero:
        (folder / "losses.json").write_text(json.dumps(losses.values))


if __name__ == "__main__":
    main()
