"""Checkpoints of ZeRO-3 and FSDP2 on other numbers of ranks than wrote them: how far losses differ.

    python benchmarks/elastic.py [--ranks 1 2 3] [--steps 10] [--folder /tmp/elastic]

For each engine and number of ranks, `spiritlm fit` trains a miniature without a break on CPU processes, and saves in
the middle; it goes on from there on every other number of ranks. Embeddings are tied, gradients are clipped, and norms
have no weight decay. The table tells the largest difference of a step's loss from that of the run without a break.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from spiritlm_pl.data.blocks import write_block, write_manifest
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.vocabulary import Vocabulary

ENGINES = {
    "ZeRO-3": {
        "class_path": "spiritlm_pl.modules.strategy.Zero3Strategy",
        "init_args": {"persistent_below": 1000, "pin_memory": False},
    },
    "FSDP2": {"class_path": "spiritlm_pl.modules.fsdp2.FSDP2Strategy"},
}
ROWS = 12  # in a step, on any number of ranks


def write_blocks(folder: Path) -> None:
    """Random documents of text and units; their losses differ from step to step."""
    rng = np.random.default_rng(0)
    vocabulary = Vocabulary.spirit_lm(num_text=100, num_units=30, multiple_of=16)
    for kind, units in (("text", 0), ("aligned", 5)):
        documents = [
            Document(
                number,
                [WordIds(rng.integers(0, 100, 2).tolist(), rng.integers(102, 132, units).tolist()) for _ in range(20)],
            )
            for number in range(60)
        ]
        blocks = folder / "train" / kind
        write_manifest(blocks, kind, vocabulary, [write_block(blocks, 0, documents, vocabulary)], {})


def configuration(folder: Path, engine: str, ranks: int, run: Path, steps: int) -> Path:
    """Write the configuration of a run."""
    streams = {kind: {"folder": str(folder / "blocks")} for kind in ("text", "aligned")}
    llama = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 150,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
    }
    values: dict[str, Any] = {
        "model": {
            "class_path": "spiritlm_pl.modules.lm.LanguageModelModule",
            "init_args": {
                "network": {"config": llama},
                "optimizer": {"lr": 1e-2, "weight_decay": 0.9},  # which makes it plain if norms were decayed
                "schedule": {"class_path": "spiritlm_pl.lm.schedule.Constant", "init_args": {"warmup_steps": 3}},
            },
        },
        "data": {
            "class_path": "spiritlm_pl.datamodules.interleaved.InterleavedDataModule",
            "init_args": {"streams": streams, "row_length": 64, "batch_size": ROWS // ranks, "num_workers": 0},
        },
        "trainer": {
            "accelerator": "cpu",
            "devices": ranks,
            "max_steps": steps,
            "gradient_clip_val": 0.3,
            "strategy": ENGINES[engine],
            "use_distributed_sampler": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "limit_val_batches": 0,
            "log_every_n_steps": 1,
            "default_root_dir": str(run),
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(run), "name": "log", "version": "losses", "flush_logs_every_n_steps": 1},
            },
            "callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {"every_n_train_steps": steps // 2, "save_top_k": -1, "filename": "{step}"},
                }
            ],
        },
    }
    run.mkdir(parents=True, exist_ok=True)
    path = run / "run.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def fit(folder: Path, engine: str, ranks: int, run: Path, steps: int, checkpoint: Path | None = None) -> list[float]:
    """Train, and return the loss of every step.

    Raises:
        RuntimeError: if training failed.
    """
    config = configuration(folder, engine, ranks, run, steps)
    words = [sys.executable, "-m", "spiritlm_pl", "fit", "--config", str(config)]
    words += [] if checkpoint is None else ["--ckpt-path", str(checkpoint)]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-4000:])
    with (run / "log" / "losses" / "metrics.csv").open(encoding="utf-8") as file:
        return [float(line["train/loss"]) for line in csv.DictReader(file) if line.get("train/loss")]


def main() -> None:
    """Train all combinations, and print a table for each engine."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3], help="numbers of ranks that divide 12")
    parser.add_argument("--steps", type=int, default=10, help="steps of a run, of which the second half is repeated")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="engines to try")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/elastic"), help="scratch folder, which is emptied")
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    write_blocks(options.folder / "blocks")
    half, found, losses = options.steps // 2, {}, {}
    for engine in options.engines:
        for before in options.ranks:
            whole = options.folder / f"{engine}-{before}"
            losses[engine, before] = fit(options.folder, engine, before, whole, options.steps)
            for after in options.ranks:
                start, run = time.monotonic(), options.folder / f"{engine}-{before}-{after}"
                checkpoint = whole / "checkpoints" / f"step={half}.ckpt"
                again = fit(options.folder, engine, after, run, options.steps, checkpoint)
                expected = losses[engine, before][half:]
                assert len(again) == len(expected) == options.steps - half
                found[engine, before, after] = max(abs(a - b) for a, b in zip(again, expected, strict=True))
                took = time.monotonic() - start
                print(f"{engine}, {before} then {after}: {found[engine, before, after]:.1e} ({took:.0f} s)", flush=True)
    print("\n| ranks before, engine | " + " | ".join(f"{after} after" for after in options.ranks) + " |")
    print("|---" * (len(options.ranks) + 1) + "|")
    for engine in options.engines:
        for before in options.ranks:
            row = (f"{found[engine, before, after]:.1e}" for after in options.ranks)
            print(f"| {before}, {engine} | " + " | ".join(row) + " |")
    runs = list(losses.values())
    spread = max(abs(a - b) for run in runs for a, b in zip(run, runs[0], strict=True))
    print(f"\nbetween the runs without a break, of all engines and numbers of ranks: {spread:.1e}")
    print(f"loss of the first and last step: {runs[0][0]:.3f} and {runs[0][-1]:.3f}")
    (options.folder / "losses.json").write_text(json.dumps(runs), encoding="utf-8")


if __name__ == "__main__":
    main()
