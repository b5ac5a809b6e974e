"""Trains a miniature over several processes, and measures what a step sends; started by test_traffic.py.

Usage: traffic_worker.py FOLDER ENGINE RANKS BATCHES RECOMPUTE BF16 TIED
ENGINE is zero3, fsdp2, or lightning for one process. Rank zero writes FOLDER/measured.json, and all FOLDER/checkpoint.
"""

import json
import os
import socket
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import lightning
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, Dataset

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.optimizer import OptimizerSettings
from spiritlm_pl.lm.schedule import Constant
from spiritlm_pl.modules.fsdp2 import FSDP2Strategy
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.modules.strategy import Zero3Strategy
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=900, num_units=80, multiple_of=64)
MODEL = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
KEPT_DISTANCE = 400_000  # DeepSpeed's is 1e9 weights, as many as a fraction of a large model
FIRST, LAST = 4, 6  # steps between which traffic is measured; in the first ones DeepSpeed learns the order of layers


class Rows(Dataset[TokenBatch]):
    def __init__(self, batches: int) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> TokenBatch:
        positions = torch.arange(32).view(1, 32)
        return TokenBatch(
            tokens=torch.randint(0, VOCABULARY.num_tokens, (1, 32)),
            position_ids=positions,
            segment_ids=torch.zeros_like(positions),
            cu_seqlens=torch.tensor([0, 32], dtype=torch.int32),
            loss_mask=positions > 0,
            step=index // self.batches,
        )


class Data(lightning.LightningDataModule):
    vocabulary, row_length = VOCABULARY, 32
    text_fingerprint = units_per_second = None
    val_streams = test_streams = ()

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> DataLoader[TokenBatch]:
        return DataLoader(Rows(self.batches), batch_size=None)


COLLECTIVES = {
    "gathered": ("all_gather_into_tensor", "all_gather_single", "all_gather"),
    "reduced": ("reduce_scatter_tensor", "reduce_scatter_single", "reduce_scatter"),
    "other": ("all_reduce", "broadcast", "all_to_all", "all_to_all_single"),
}  # of torch.distributed, in several versions


class Counts:
    """Bytes given to collectives, by kind, and those that this process's connections have sent and received."""

    def __init__(self) -> None:
        self.collectives: Counter[str] = Counter()
        self.first: dict[str, int] = {}
        for kind, names in COLLECTIVES.items():
            for name in names:
                if hasattr(dist, name):
                    setattr(dist, name, self._counted(kind, getattr(dist, name)))

    def _counted(self, kind: str, function: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            tensors = [value for value in (*given, *named.values()) if torch.is_tensor(value)]
            self.collectives[kind] += max((one.numel() * one.element_size() for one in tensors), default=0)
            return function(*given, **named)

        return call

    def now(self) -> dict[str, int]:
        dist.barrier()
        sent = received = 0
        for name in os.listdir("/proc/self/fd"):
            try:
                with socket.socket(fileno=os.dup(int(name))) as one:
                    info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            except OSError:  # no TCP socket, or closed since
                continue
            acknowledged, got = struct.unpack_from("QQ", info, 120)  # tcpi_bytes_acked, tcpi_bytes_received
            sent, received = sent + acknowledged, received + got
        return {**self.collectives, "sent": sent, "received": received}

    def at(self, step: int, folder: Path) -> None:
        """Note the counts at the first of the measured steps, and write what came to them at the last."""
        if step == FIRST:
            self.first = self.now()
        elif step == LAST:
            found = {name: (value - self.first.get(name, 0)) / (LAST - FIRST) for name, value in self.now().items()}
            if dist.get_rank() == 0:
                (folder / "measured.json").write_text(json.dumps(found))


class Measure(Callback):
    def __init__(self, counts: Counts, folder: Path, batches: int) -> None:
        self.counts, self.folder, self.batches = counts, folder, batches

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, batch: Any, index: int) -> None:
        if index % self.batches == 0:
            self.counts.at(trainer.global_step, self.folder)


def train_alone(folder: Path, ranks: int, batches: int, config: LanguageModelConfig) -> None:
    train(folder, batches, config, devices=ranks)


def train_zero3(folder: Path, ranks: int, batches: int, config: LanguageModelConfig) -> None:
    strategy = Zero3Strategy(persistent_below=1000, pin_memory=False, bucket_size=100_000)
    zero = strategy.config["zero_optimization"]
    zero["stage3_max_reuse_distance"] = zero["stage3_max_live_parameters"] = KEPT_DISTANCE
    train(folder, batches, config, devices=ranks, strategy=strategy, callbacks=[Measure(Counts(), folder, batches)])


def train(folder: Path, batches: int, config: LanguageModelConfig, **more: Any) -> None:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=LAST + 1,
        accumulate_grad_batches=batches,
        gradient_clip_val=1.0,
        **{"precision": "bf16-true" if config.dtype == "bfloat16" else "32-true", **more},
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(LanguageModelModule(config, VOCABULARY, OptimizerSettings(), Constant(1)), datamodule=Data(batches))
    trainer.save_checkpoint(folder / "checkpoint")


def train_fsdp2(folder: Path, ranks: int, batches: int, config: LanguageModelConfig) -> None:
    strategy, measure = FSDP2Strategy(pin_memory=False), Measure(Counts(), folder, batches)
    mixed = config.dtype == "bfloat16"
    config = LanguageModelConfig(**{**vars(config), "dtype": "float32"})
    more = {"precision": "bf16-mixed"} if mixed else {}
    train(folder, batches, config, devices=ranks, strategy=strategy, callbacks=[measure], **more)


def main() -> None:
    folder, engine = Path(sys.argv[1]), sys.argv[2]
    ranks, batches, recompute, bf16, tied = map(int, sys.argv[3:])
    config = LanguageModelConfig(
        config=MODEL | {"tie_word_embeddings": bool(tied)},
        gradient_checkpointing=bool(recompute),
        dtype="bfloat16" if bf16 else "float32",
    )
    {"zero3": train_zero3, "fsdp2": train_fsdp2, "lightning": train_alone}[engine](folder, ranks, batches, config)


if __name__ == "__main__":
    main()
