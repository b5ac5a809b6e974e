"""Share of the time of training that saving takes under ZeRO-3 and FSDP2, at once and in a thread.

    python benchmarks/checkpoint_time.py [--ranks 2] [--steps 24] [--every 8] [--width 512] [--folder /tmp/checkpoints]

Each way trains the same random rows on CPU processes. The clock of rank zero runs from the end of the second step to
the end of training, the last checkpoint's writing included; what the callback of checkpoints holds it up is saving. The
share belongs to this number of steps between checkpoints: it falls as that number grows.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, Dataset

from spiritlm_pl.callbacks.checkpoints import PatientCheckpoint
from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.modules.fsdp2 import FSDP2Strategy
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.modules.strategy import Zero3Strategy
from spiritlm_pl.vocabulary import Vocabulary

LENGTH = 256  # tokens of a row
VOCABULARY = Vocabulary.spirit_lm(num_text=1000, num_units=500)


class Rows(Dataset[TokenBatch]):
    """Random rows, one document each."""

    def __len__(self) -> int:
        """Return a number that is large enough."""
        return 10_000

    def __getitem__(self, index: int) -> TokenBatch:
        """Make the batch of a step."""
        tokens = torch.randint(0, 1000, (2, LENGTH), generator=torch.Generator().manual_seed(index))
        positions = torch.arange(LENGTH).expand_as(tokens)
        return TokenBatch(
            tokens=tokens,
            position_ids=positions,
            segment_ids=torch.zeros_like(tokens),
            cu_seqlens=torch.arange(0, 2 * LENGTH + 1, LENGTH, dtype=torch.int32),
            loss_mask=positions > 0,
            step=index,
        )


class Clock(Callback):
    """Times of a training, and of saving in it."""

    def __init__(self) -> None:
        """Start with no time."""
        self.start = self.saving = 0.0

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: object) -> None:
        """Start after the second step, when memory is allocated."""
        if trainer.global_step == 2:
            self.start = time.monotonic()


class TimedCheckpoint(PatientCheckpoint):
    """Checkpoints every few steps, with the time in which training waits for them."""

    seconds = 0.0

    def on_train_batch_end(self, *args: object, **named: object) -> None:
        """Save if it is time."""
        start = time.monotonic()
        super().on_train_batch_end(*args, **named)  # type: ignore[arg-type]  # passed on as they came
        self.seconds += time.monotonic() - start

    def on_train_end(self, *args: object) -> None:
        """Wait for the last one."""
        start = time.monotonic()
        super().on_train_end(*args)  # type: ignore[arg-type]  # passed on as they came
        self.seconds += time.monotonic() - start


def train(options: argparse.Namespace) -> None:
    """Train in one way, and print the times as JSON."""
    lightning.seed_everything(1)
    llama = {
        "model_type": "llama",
        "hidden_size": options.width,
        "intermediate_size": 2 * options.width,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "max_position_embeddings": LENGTH,
    }
    engine, background = options.way.split(":")[0], options.way.endswith("thread")
    saves = TimedCheckpoint(
        options.folder, filename="{step}", every_n_train_steps=options.every, monitor="step", mode="max"
    )
    clock = Clock()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=options.ranks,
        max_steps=options.steps,
        logger=False,
        strategy=FSDP2Strategy(save_in_background=background)
        if engine == "FSDP2"
        else Zero3Strategy(pin_memory=False, save_in_background=background),
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock, saves],
    )
    module = LanguageModelModule(LanguageModelConfig(config=llama), VOCABULARY)
    trainer.fit(module, DataLoader(Rows(), batch_size=None))
    if trainer.is_global_zero:
        size = sum(path.stat().st_size for path in options.folder.rglob("*") if path.is_file())
        print(json.dumps({"whole": time.monotonic() - clock.start, "saving": saves.seconds, "size": size / 2**20}))


def main() -> None:
    """Train in all ways, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--ranks", type=int, default=2, help="number of processes")
    parser.add_argument("--steps", type=int, default=24, help="steps of a run")
    parser.add_argument("--every", type=int, default=8, help="steps between checkpoints")
    parser.add_argument("--width", type=int, default=512, help="size of the hidden states")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/checkpoints"), help="scratch folder, emptied")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        train(options)
        return
    print("| engine | saving | checkpoint, MiB | all, s | waited for saving, s | a checkpoint, s | share, % |")
    print("|---|---|---|---|---|---|---|")
    for engine in ("ZeRO-3", "FSDP2"):
        for manner in ("at once", "thread"):
            shutil.rmtree(options.folder, ignore_errors=True)
            words = [sys.executable, __file__, *sys.argv[1:], "--way", f"{engine}:{manner}"]
            done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            found = [line for line in done.stdout.splitlines() if line.startswith('{"whole"')]
            if done.returncode or not found:
                raise RuntimeError(done.stdout[-1000:] + done.stderr[-3000:])
            told, saved = json.loads(found[0]), options.steps // options.every
            print(
                f"| {engine} | {manner} | {told['size']:.0f} | {told['whole']:.1f} | {told['saving']:.2f} | "
                f"{told['saving'] / saved:.2f} | {100 * told['saving'] / told['whole']:.1f} |",
                flush=True,
            )
    shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
