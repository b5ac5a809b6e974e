"""Some dozens of training steps under ZeRO-3 on GPUs: tokens a second, MFU, memory.

    python benchmarks/gpu_7b.py --model llama-1b
    python benchmarks/gpu_7b.py --model llama-2-7b --offload --rows 4          # about 110 GiB of host memory
    torchrun --nproc-per-node 8 benchmarks/gpu_7b.py --model llama-2-7b --devices 8

Weights and documents are random: speed does not depend on them. The model is built sharded, as in training.
"""

import argparse
import time
from typing import Any

import lightning
import torch
from lm_throughput import Rows
from torch.utils.data import DataLoader

from spiritlm_pl.cli.plan import PRESETS
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.flops import attention_width, matrix_weights, peak_flops, training_flops
from spiritlm_pl.lm.optimizer import OptimizerSettings
from spiritlm_pl.lm.schedule import Constant
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.modules.strategy import Zero3Strategy
from spiritlm_pl.vocabulary import Vocabulary

WARM_UP = 5


class Report(lightning.Callback):
    """Times the steps after the warm-up."""

    def __init__(self, tokens: int, document: int) -> None:
        """Keep what a step of one rank holds."""
        self.tokens, self.document, self.start, self.steps = tokens, document, 0.0, 0

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *args: Any) -> None:
        """Start after the warm-up; print every ten steps."""
        self.steps += 1
        on_gpu = module.device.type == "cuda"
        if on_gpu:
            torch.cuda.synchronize()
        if self.steps == WARM_UP:
            self.start = time.perf_counter()
        elif self.steps > WARM_UP and self.steps % 10 == 0 and trainer.is_global_zero:
            speed = (self.steps - WARM_UP) * self.tokens / (time.perf_counter() - self.start)
            weights, width = matrix_weights(module.network), attention_width(module.network.config)
            peak = peak_flops(module.device)
            mfu = speed * training_flops(weights, width, self.document / 2) / peak if peak else float("nan")
            memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else float("nan")
            loss = float(trainer.callback_metrics["train/loss"])
            speeds = f"{speed:,.0f} tokens/s/GPU, MFU {mfu:.3f}"
            print(f"step {self.steps}: {speeds}, peak {memory:.1f} GiB, loss {loss:.3f}")


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=PRESETS, default="llama-1b")
    parser.add_argument("--offload", action="store_true", help="optimizer state on the host")
    parser.add_argument("--no-checkpointing", action="store_true", help="keep all activations")
    parser.add_argument("--accelerator", default="gpu")
    for name, default in (
        ("devices", 1),
        ("steps", 40),
        ("rows", 4),
        ("length", 4096),
        ("document", 1000),
        ("layers", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    values = dict(PRESETS[options.model])
    if options.layers:
        values["num_hidden_layers"] = options.layers
    vocabulary = Vocabulary(num_text=values.pop("vocab_size") - 512)
    settings = LanguageModelConfig(
        config=values, gradient_checkpointing=not options.no_checkpointing, dtype="bfloat16", rope_theta=1e5
    )
    module = LanguageModelModule(settings, vocabulary, OptimizerSettings(), Constant(10))
    trainer = lightning.Trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        max_steps=options.steps,
        precision="bf16-true",
        strategy=Zero3Strategy(offload_optimizer=options.offload, pin_memory=options.accelerator == "gpu"),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        use_distributed_sampler=False,
        callbacks=[Report(options.rows * options.length, options.document)],
    )
    rows = Rows(options.rows, options.length, options.document, options.steps)
    trainer.fit(module, DataLoader(rows, batch_size=None))


if __name__ == "__main__":
    main()
