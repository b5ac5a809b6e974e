"""`spiritlm plan`: memory and time of training a model on given GPUs."""

from typing import Any

from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, PreTrainedConfig

from spiritlm_pl.lm.base_model import checkpoint_config
from spiritlm_pl.lm.cost import GIB, Memory, ModelSize, memory, model_size, tokens_per_second
from spiritlm_pl.lm.flops import training_flops

LLAMA: dict[str, Any] = {"model_type": "llama", "vocab_size": 32_512, "max_position_embeddings": 4096}
PRESETS: dict[str, dict[str, Any]] = {
    "llama-2-7b": {
        **LLAMA,
        "hidden_size": 4096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "llama-1b": {
        **LLAMA,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
    },
    "smollm2-135m": {
        **LLAMA,
        "vocab_size": 49_664,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
}
PUBLISHED = (
    "Published (arXiv 2402.05755, App. A): Llama 2 7B, 64 x A100-80GB, 4 rows of 4096 a GPU: 21k A100 hours,\n"
    "about 2.8k tokens/s/GPU (so 200k steps of 1M tokens), 36 % MFU (6 operations a parameter, no attention)."
)


def plan(
    model: str = "llama-2-7b",
    gpus: list[int] | None = None,
    gpu_memory: float = 80.0,
    rows: int = 4,
    row_length: int = 4096,
    steps: int = 200_000,
    tokens_per_step: int = 1_048_576,
    peak_tflops: float = 312.0,
    mfu: float = 0.40,
) -> None:
    """Print what a model needs on each number of GPUs, by ZeRO stage, and how long it trains.

    Examples:
        spiritlm plan
        spiritlm plan --model llama-2-7b --gpus '[8, 64]'
        spiritlm plan --model HuggingFaceTB/SmolLM2-135M --gpu-memory 24 --rows 8

    Args:
        model: llama-2-7b, llama-1b, smollm2-135m, or a model folder or hub name.
        gpus: numbers of GPUs to plan for; 1, 8 and 64 by default.
        gpu_memory: memory of one GPU in GB (1e9 bytes).
        rows: rows in the batch of one GPU; gradients are accumulated to reach the tokens of a step.
        row_length: number of tokens in a row.
        steps: number of optimizer steps of the training.
        tokens_per_step: tokens of one optimizer step over all GPUs.
        peak_tflops: peak speed of one GPU in bf16, in TFLOPS: 312 for A100, 989 for H100.
        mfu: share of the peak speed that the model reaches, attention included, in (0, 1]; 0.40 is the published run's.
    """
    if not 0 < mfu <= 1:
        raise ValueError(f"mfu must be in (0, 1], but is {mfu} instead")
    size = model_size(_config(model))
    operations = training_flops(size.matrix_weights, size.attention_width, row_length / 2)
    console = Console(width=116)
    console.print(
        "layers: what the backward pass keeps; recomp.: the same with gradient checkpointing; host: offloaded\n"
        f"{model}: {size.parameters / 1e9:.2f} G parameters, {operations / 1e9:.1f} GFLOP a token in training "
        f"({100 * 6 * size.matrix_weights / operations:.0f} % in the weights), rows {rows} x {row_length} a GPU"
    )
    for count in gpus or [1, 8, 64]:
        console.print(_memory_table(size, count, gpu_memory, rows, row_length))
        _print_time(console, size, count, row_length, steps, tokens_per_step, peak_tflops, mfu)
    if model == "llama-2-7b":
        console.print(PUBLISHED)


def _config(model: str) -> PreTrainedConfig:
    return AutoConfig.for_model(**PRESETS[model]) if model in PRESETS else checkpoint_config(model)


def _memory_table(size: ModelSize, gpus: int, capacity: float, rows: int, row_length: int) -> Table:
    table = Table(title=f"{gpus} GPU{'s' if gpus > 1 else ''} of {capacity:.0f} GB, GiB each", title_justify="left")
    for name in ("ZeRO", "weights", "grads", "Adam", "working", "layers", "sum", "recomp.", "sum", "host", "fits"):
        table.add_column(name, justify="left" if name in ("ZeRO", "fits") else "right", no_wrap=True)
    for stage, offload in ((0, False), (1, False), (2, False), (3, False), (3, True)):
        kept, recomputed = (
            memory(size, gpus, stage, rows, row_length, checkpointing, offload) for checkpointing in (False, True)
        )
        cells = (
            kept.weights,
            kept.gradients,
            kept.optimizer,
            kept.working,
            kept.activations,
            kept.gpu,
            recomputed.activations,
            recomputed.gpu,
            kept.host,
        )
        name = f"{stage}+offload" if offload else str(stage)
        table.add_row(name, *(f"{cell / GIB:.1f}" for cell in cells), _verdict(kept, recomputed, capacity))
    return table


def _verdict(kept: Memory, recomputed: Memory, capacity: float) -> str:
    limit = capacity * 1e9 * 0.95  # allocators cannot use all memory, since they leave gaps
    if kept.gpu <= limit:
        return "yes"
    return "recomputed" if recomputed.gpu <= limit else "no"


def _print_time(
    console: Console,
    size: ModelSize,
    gpus: int,
    row_length: int,
    steps: int,
    tokens_per_step: int,
    peak_tflops: float,
    mfu: float,
) -> None:
    for recompute in (False, True):
        speed = tokens_per_second(size, row_length, peak_tflops * 1e12, mfu, recompute)
        hours = steps * tokens_per_step / (speed * gpus) / 3600
        console.print(
            f"  {'with' if recompute else 'without'} gradient checkpointing: {speed:,.0f} tokens/s/GPU, "
            f"{hours / 24:,.1f} days, {hours * gpus:,.0f} GPU hours for {steps / 1000:,.0f}k steps"
        )
