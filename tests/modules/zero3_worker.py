"""Trains a tiny LM on rows made up from the step; started by test_strategy.py, twice under ZeRO-3.

Usage: zero3_worker.py FOLDER PROCESSES ACCUMULATE FIRST_STEP LAST_STEP BASE_MODEL [CHECKPOINT]
Writes FOLDER/losses.json (rank zero: loss and gradient norm of every step), FOLDER/step=N.ckpt and FOLDER/export.
"""

import json
import sys
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.utils.data import DataLoader, Dataset

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.optimizer import OptimizerSettings
from spiritlm_pl.lm.schedule import Constant
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.modules.strategy import Zero3Strategy
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=40, num_units=20, multiple_of=64)
ROWS, DOCUMENT = 4, 16


class Rows(Dataset[TokenBatch]):
    def __init__(self, rank: int, world: int, first: int, accumulate: int) -> None:
        self.rank, self.world, self.first, self.accumulate = rank, world, first, accumulate

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> TokenBatch:
        step, part = self.first + index // self.accumulate, index % self.accumulate * self.world + self.rank
        parts = self.world * self.accumulate
        generator = torch.Generator().manual_seed(step)
        steps = torch.randint(1, 4, (ROWS, 2 * DOCUMENT), generator=generator)
        mine = slice(part * ROWS // parts, (part + 1) * ROWS // parts)
        tokens = (steps.cumsum(1) % VOCABULARY.num_tokens)[mine]
        positions = torch.arange(DOCUMENT).repeat(2).expand_as(tokens)
        segments = torch.arange(2).repeat_interleave(DOCUMENT).expand_as(tokens)
        bounds = torch.arange(0, tokens.numel() + 1, DOCUMENT, dtype=torch.int32)
        return TokenBatch(
            tokens=tokens,
            position_ids=positions,
            segment_ids=segments,
            cu_seqlens=bounds,
            loss_mask=positions > 0,
            step=step,
        )


class Losses(Callback):
    def __init__(self) -> None:
        self.values: dict[int, list[float]] = {}

    def on_train_batch_start(self, trainer, *args):
        if "train/gradient_norm" in trainer.callback_metrics:  # not before the first step
            pair = [float(trainer.callback_metrics[f"train/{name}"]) for name in ("loss", "gradient_norm")]
            self.values.setdefault(trainer.global_step, pair)

    on_train_end = on_train_batch_start


class Data(lightning.LightningDataModule):
    """What `spiritlm_pl.contracts.data_modules.TokenData` asks, and no more."""

    vocabulary, row_length = VOCABULARY, 16
    text_fingerprint = units_per_second = None
    val_streams = test_streams = ()

    def __init__(self, first: int, accumulate: int) -> None:
        super().__init__()
        self.first, self.accumulate = first, accumulate

    def train_dataloader(self) -> DataLoader[TokenBatch]:
        rows = Rows(self.trainer.global_rank, self.trainer.world_size, self.first, self.accumulate)
        return DataLoader(rows, batch_size=None)


def main() -> None:
    folder = Path(sys.argv[1])
    processes, accumulate, first, last = (int(value) for value in sys.argv[2:6])
    base, checkpoint = sys.argv[6], sys.argv[7] if len(sys.argv) > 7 else None
    lightning.seed_everything(1)
    module = LanguageModelModule(
        LanguageModelConfig(checkpoint=base), VOCABULARY, OptimizerSettings(lr=1e-2), Constant(3)
    )
    losses = Losses()
    saves = ModelCheckpoint(
        folder, filename="{step}", every_n_train_steps=2, save_top_k=3, monitor="step", mode="max", save_last="link"
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=processes,
        max_steps=last,
        logger=False,
        gradient_clip_val=1.0,
        strategy="auto" if processes == 1 else Zero3Strategy(persistent_below=0, pin_memory=False),
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accumulate_grad_batches=accumulate,
        callbacks=[losses, saves],
    )
    trainer.fit(module, datamodule=Data(first, accumulate), ckpt_path=checkpoint)
    if processes > 1:
        assert all(parameter.ds_shape for parameter in module.parameters())
        assert all(parameter.numel() == 0 for parameter in module.parameters()), "not sharded"
    module.export(str(folder / "export"))
    if trainer.is_global_zero:
        (folder / "losses.json").write_text(json.dumps(losses.values))


if __name__ == "__main__":
    main()
