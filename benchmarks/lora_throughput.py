"""LoRA tokens a second and memory: this project, all weights and adapters, beside `peft` with the plain Trainer.

    python benchmarks/lora_throughput.py --rounds 3

Every contestant trains a model of SmolLM2-135M's shape (random weights) on the same documents, with AdamW without
clipping, in a process of its own with one thread, in turn; medians count. Those that train adapters begin with the same
ones, so that their losses must agree. Padding does not count as tokens. The Trainer runs twice: on the same packed rows
(position ids; its own block mask keeps documents apart), and on the documents of each batch padded to the longest.
Tokens a second are those of CPU time, which other work on the machine hardly changes, and of the wall clock.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import torch
from lm_throughput import Rows, _packed, _padded
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from spiritlm_pl.adapters.folder import AdapterDescription, save_adapter
from spiritlm_pl.adapters.injection import put_adapter, trained_shares
from spiritlm_pl.adapters.settings import LoRA
from spiritlm_pl.lm.build import LanguageModelConfig, build_network
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.lm.identity import weights_hash
from spiritlm_pl.lm.optimizer import OptimizerSettings
from spiritlm_pl.lm.schedule import Constant
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=49_152, num_units=501, multiple_of=256)
SHAPE: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
ADAPTER = LoRA(rank=16, alpha=32)
LR = 2e-4
CONTESTANTS = ("all weights", "adapters", "peft and Trainer, packed rows", "peft and Trainer, padded documents")
WARM = 1  # steps that are not timed


class Clock:
    """CPU and wall seconds of the steps after the first ones, and the loss of every step."""

    def __init__(self) -> None:
        """Start with nothing measured."""
        self.losses: list[float] = []
        self.start: tuple[float, float] = (0.0, 0.0)
        self.seconds: tuple[float, float] = (0.0, 0.0)
        self.steps = 0

    def step(self) -> None:
        """Count a step that has ended."""
        self.steps += 1
        now = time.process_time(), time.perf_counter()
        if self.steps == WARM:
            self.start = now
        self.seconds = now[0] - self.start[0], now[1] - self.start[1]


class LightningClock(lightning.Callback):
    """Clock under Lightning."""

    def __init__(self, clock: Clock) -> None:
        """Keep the clock."""
        self.clock = clock

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Count the step, and keep its loss."""
        self.clock.step()
        self.clock.losses.append(float(trainer.callback_metrics["train/loss"]))


class TrainerClock(TrainerCallback):
    """Clock under transformers."""

    def __init__(self, clock: Clock) -> None:
        """Keep the clock."""
        self.clock = clock

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Count the step."""
        self.clock.step()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Keep the loss of a step."""
        if "loss" in logs:
            self.clock.losses.append(float(logs["loss"]))


def documents(options: argparse.Namespace) -> Rows:
    """Make batches of documents over text and speech tokens."""
    rows = Rows(options.rows, options.length, options.document, options.steps)
    shift = VOCABULARY.num_text - 1000
    rows.batches = [replace(batch, tokens=batch.tokens + shift) for batch in rows.batches]
    return rows


def ours(base: str, rows: Rows, clock: Clock, adapter: LoRA | None) -> PreTrainedModel:
    """Train with this project."""
    module = LanguageModelModule(
        LanguageModelConfig(checkpoint=base), VOCABULARY, _settings(), Constant(0), adapter=adapter
    )
    lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=len(rows),
        precision="bf16-mixed",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[LightningClock(clock)],
        use_distributed_sampler=False,
    ).fit(module, DataLoader(rows, batch_size=None))
    return module.network


def _settings() -> OptimizerSettings:
    return OptimizerSettings(lr=LR, beta2=0.95, weight_decay=0.0)


def theirs(base: str, adapter: str, rows: Rows, clock: Clock, padded: bool) -> Any:
    """Train with `peft` and the Trainer, from the same adapter."""
    from peft import PeftModel

    network = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter, is_trainable=True)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=len(rows),
            per_device_train_batch_size=1,
            bf16=True,
            use_cpu=True,
            learning_rate=LR,
            lr_scheduler_type="constant",
            adam_beta2=0.95,
            max_grad_norm=0.0,
            weight_decay=0.0,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            logging_steps=1,
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
        )
        batches: Any = [_padded(batch) if padded else _packed(batch) for batch in rows.batches]
        Trainer(
            network,
            arguments,
            train_dataset=batches,
            data_collator=lambda items: items[0],
            callbacks=[TrainerClock(clock)],
        ).train()
    return network


def prepare(folder: Path) -> None:
    """Write the base model, and an adapter as our own training begins with it."""
    torch.manual_seed(0)
    save_lm(folder / "base", build_network(LanguageModelConfig(config=SHAPE), VOCABULARY), VOCABULARY)
    network = build_network(LanguageModelConfig(checkpoint=str(folder / "base")), VOCABULARY)
    put_adapter(network, ADAPTER, VOCABULARY)
    base = str(folder / "base")
    description = AdapterDescription.of(network, ADAPTER, VOCABULARY, base, weights_hash(base))
    save_adapter(folder / "adapter", dict(network.state_dict()), description)


def measure(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run one contestant in this process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows, clock, base = documents(options), Clock(), str(folder / "base")
    if "Trainer" in name:
        network = theirs(base, str(folder / "adapter"), rows, clock, name.endswith("padded documents"))
    else:
        network = ours(base, rows, clock, ADAPTER if name == "adapters" else None)
    tokens = (len(rows) - WARM) * rows[0].tokens.numel()
    trained, whole = trained_shares(network)
    return {
        "cpu": tokens / clock.seconds[0],
        "wall": tokens / clock.seconds[1],
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "losses": clock.losses,
        "share": 100 * trained / whole,
    }


def main() -> None:
    """Run all in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 3), ("steps", 3), ("rows", 2), ("length", 256), ("document", 60)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=("prepare", *CONTESTANTS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only == "prepare":
        prepare(options.folder)
        return
    if options.only is not None:
        print("FOUND" + json.dumps(measure(options.only, options.folder, options)))
        return
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    sizes = [f"--{name}={getattr(options, name)}" for name in ("steps", "rows", "length", "document")]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        _child(["--only", "prepare"], folder)
        for _ in range(options.rounds):
            for name in CONTESTANTS:
                printed = _child(["--only", name, *sizes], folder)
                [line] = [line for line in printed.splitlines() if line.startswith("FOUND")]
                found[name].append(json.loads(line.removeprefix("FOUND")))
    print(f"{'':<38}{'trained':>9}{'peak':>10}{'tokens a second of':>24}  loss, last step")
    print(f"{'':<38}{'%':>9}{'GiB':>10}{'CPU time':>12}{'wall clock':>12}")
    for name, runs in found.items():
        share, memory, cpu, wall = (
            statistics.median(run[key] for run in runs) for key in ("share", "memory", "cpu", "wall")
        )
        print(f"{name:<38}{share:>9.2f}{memory:>10.2f}{cpu:>12,.0f}{wall:>12,.0f}  {runs[0]['losses'][-1]:.4f}")
    own = found["adapters"]
    for name, runs in found.items():
        ratios = sorted(one["cpu"] / other["cpu"] for one, other in zip(own, runs, strict=True))
        if name != "adapters":
            print(f"adapters to {name}: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        if "Trainer" in name:
            gap = max(abs(a - b) / b for a, b in zip(own[0]["losses"], runs[0]["losses"], strict=True))
            print(f"  losses differ by at most {100 * gap:.2f} %")


def _child(words: list[str], folder: str) -> str:
    command = [sys.executable, __file__, *words, "--folder", folder]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
