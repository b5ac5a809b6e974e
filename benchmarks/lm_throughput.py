"""LM training tokens a second: this project against the same model and documents in a plain `transformers` Trainer.

    python benchmarks/lm_throughput.py --precision bf16 --threads 1

Every contestant trains the same Llama on the same documents with AdamW, clipping and the same precision; padding
does not count as tokens. The Trainer runs twice: on the same packed rows (position ids; its own block mask keeps
documents apart), and on the documents of each batch padded to the longest. The better one is the baseline.
"""

import argparse
import multiprocessing
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.optimizer import OptimizerSettings
from spiritlm_pl.lm.schedule import Constant
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=1000, num_units=500)


class Rows(Dataset[TokenBatch]):
    """Random documents of 0.5 to 1.5 times a mean length, or with 0 of a whole row, packed to rows."""

    def __init__(self, rows: int, length: int, mean: int, steps: int) -> None:
        """Make all batches beforehand."""
        generator = torch.Generator().manual_seed(0)
        self.batches = [self._batch(rows, length, mean, step, generator) for step in range(steps)]

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.batches)

    def __getitem__(self, index: int) -> TokenBatch:
        """One batch."""
        return self.batches[index]

    @staticmethod
    def _batch(rows: int, length: int, mean: int, step: int, generator: torch.Generator) -> TokenBatch:
        lengths: list[int] = []
        for _ in range(rows):
            left = length
            while left:
                drawn = int(torch.randint(mean // 2, mean * 3 // 2, (), generator=generator)) if mean else length
                lengths.append(min(left, drawn))
                left -= lengths[-1]
        positions = torch.cat([torch.arange(n) for n in lengths]).view(rows, length)
        segments = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)]).view(rows, length)
        tokens = torch.randint(0, VOCABULARY.num_tokens, (rows, length), generator=generator)
        return TokenBatch(
            tokens=tokens,
            position_ids=positions,
            segment_ids=segments,
            cu_seqlens=torch.tensor([0, *lengths]).cumsum(0).int(),
            loss_mask=positions > 0,
            step=step,
        )


class Clock:
    """Seconds from the end of the third step on; those of the processor with one thread."""

    def __init__(self) -> None:
        """Not started."""
        self.start, self.seconds, self.steps = 0.0, 0.0, 0
        self.time = time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def step(self) -> None:
        """A step has ended."""
        self.steps += 1
        if self.steps == 3:
            self.start = self.time()
        self.seconds = self.time() - self.start


class LightningClock(lightning.Callback):
    """The clock under Lightning."""

    def __init__(self, clock: Clock) -> None:
        """Keep the clock."""
        self.clock = clock

    def on_train_batch_end(self, *args: Any) -> None:
        """Count."""
        self.clock.step()


class TrainerClock(TrainerCallback):
    """The clock under transformers."""

    def __init__(self, clock: Clock) -> None:
        """Keep the clock."""
        self.clock = clock

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Count."""
        self.clock.step()


def ours(values: dict[str, Any], rows: Rows, bf16: bool) -> float:
    """Tokens a second of this project."""
    clock = Clock()
    module = LanguageModelModule(
        LanguageModelConfig(config=values), VOCABULARY, OptimizerSettings(lr=1e-3), Constant(10)
    )
    lightning.Trainer(
        accelerator="cpu",
        max_steps=len(rows),
        precision="bf16-mixed" if bf16 else "32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        callbacks=[LightningClock(clock)],
        use_distributed_sampler=False,
    ).fit(module, DataLoader(rows, batch_size=None))
    return (len(rows) - 3) * rows[0].tokens.numel() / clock.seconds


def theirs(values: dict[str, Any], rows: Rows, bf16: bool, padded: bool) -> float:
    """Tokens a second of the Trainer."""
    clock = Clock()
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values, vocab_size=VOCABULARY.num_rows))
    arguments = TrainingArguments(
        output_dir="/tmp/lm_throughput",
        max_steps=len(rows),
        per_device_train_batch_size=1,
        bf16=bf16,
        use_cpu=True,
        learning_rate=1e-3,
        max_grad_norm=1.0,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=10**6,
        remove_unused_columns=False,
        weight_decay=0.1,
    )
    batches = [_padded(batch) if padded else _packed(batch) for batch in rows.batches]
    Trainer(
        network, arguments, train_dataset=batches, data_collator=lambda items: items[0], callbacks=[TrainerClock(clock)]
    ).train()
    return (len(rows) - 3) * rows[0].tokens.numel() / clock.seconds


def litgpt(values: dict[str, Any], rows: Rows, bf16: bool) -> float:
    """Tokens a second of a compiled model of litgpt, whose attention does not know of documents."""
    from litgpt.model import GPT, Config
    from litgpt.utils import chunked_cross_entropy

    clock = Clock()
    config = Config(
        block_size=values["max_position_embeddings"],
        n_layer=values["num_hidden_layers"],
        n_embd=values["hidden_size"],
        n_head=values["num_attention_heads"],
        padded_vocab_size=VOCABULARY.num_rows,
        intermediate_size=values["intermediate_size"],
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
    )
    network = torch.compile(GPT(config))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    for batch in rows.batches:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = chunked_cross_entropy(network(batch.tokens)[:, :-1], batch.tokens[:, 1:], chunk_size=0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.step()
    return (len(rows) - 3) * rows[0].tokens.numel() / clock.seconds


def apart(run: Callable[[], float]) -> float:
    """Run in a fresh process, since training changes how a process keeps memory, and a forked one may not compile."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _begin, (torch.get_num_threads(),)) as pool:
        return pool.submit(run).result()


def _begin(threads: int) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)


def _packed(batch: TokenBatch) -> dict[str, torch.Tensor]:
    labels = batch.tokens.masked_fill(~batch.loss_mask, -100)
    return {"input_ids": batch.tokens, "position_ids": batch.position_ids, "labels": labels}


def _padded(batch: TokenBatch) -> dict[str, torch.Tensor]:
    documents = batch.tokens.flatten().split(batch.cu_seqlens.diff().tolist())
    tokens = torch.nn.utils.rnn.pad_sequence(documents, batch_first=True)
    kept = torch.nn.utils.rnn.pad_sequence([torch.ones_like(d) for d in documents], batch_first=True)
    return {"input_ids": tokens, "attention_mask": kept, "labels": tokens.masked_fill(kept == 0, -100)}


def main() -> None:
    """Run all and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    for name, default in (
        ("threads", 1),
        ("steps", 23),
        ("rows", 8),
        ("length", 512),
        ("document", 120),
        ("hidden", 192),
        ("layers", 4),
        ("repeats", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--litgpt", action="store_true", help="add litgpt, which must be installed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    values = {
        "model_type": "llama",
        "hidden_size": options.hidden,
        "intermediate_size": options.hidden * 8 // 3,
        "num_hidden_layers": options.layers,
        "num_attention_heads": options.hidden // 48,
        "max_position_embeddings": options.length,
    }
    rows, bf16 = Rows(options.rows, options.length, options.document, options.steps), options.precision == "bf16"
    runs = {
        "spiritlm-pl, packed rows": partial(ours, values, rows, bf16),
        "transformers Trainer, packed rows": partial(theirs, values, rows, bf16, padded=False),
        "transformers Trainer, padded documents": partial(theirs, values, rows, bf16, padded=True),
    }
    if options.litgpt:
        runs["litgpt, compiled, whole rows"] = partial(litgpt, values, rows, bf16)
    best = dict.fromkeys(runs, 0.0)
    for _ in range(options.repeats):  # in turn, so that other work on the machine hits all alike
        for name, run in runs.items():
            best[name] = max(best[name], apart(run))
    print(f"\n{options.precision}, {options.threads} thread(s), {values}")
    for name, speed in best.items():
        print(f"{name:<42}{speed:>10,.0f} tokens/s")
    speeds = list(best.values())
    print(f"ratio to the better Trainer: {speeds[0] / max(speeds[1:3]):.2f}")
    for speed in speeds[3:]:
        print(f"ratio to litgpt: {speeds[0] / speed:.2f}")


if __name__ == "__main__":
    main()
