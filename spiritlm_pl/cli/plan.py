"""`spiritlm plan`: memory, time, network, checkpoints and data path of training a model on given GPUs."""

from math import ceil, isfinite
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from transformers import AutoConfig, PreTrainedConfig

from spiritlm_pl.cli.parser import look
from spiritlm_pl.lm.base_model import checkpoint_config
from spiritlm_pl.lm.cost import NEW_ROWS, adapter_size, model_size, tokens_per_second
from spiritlm_pl.lm.flops import training_flops
from spiritlm_pl.planning.checkpoints import STATE_WIDTH, Checkpoints
from spiritlm_pl.planning.data_path import Corpus, data_path
from spiritlm_pl.planning.figures import Figures
from spiritlm_pl.planning.preferences import Preferences
from spiritlm_pl.planning.tables import GB, checkpoint_table, data_table, memory_table, network_table

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
    "Published (arXiv 2402.05755, App. A): Llama 2 7B, 64 x A100-80GB, 4 rows of 4096\n"
    "a GPU: 21k A100 hours, about 2.8k tokens/s/GPU (so 200k steps of 1M tokens),\n"
    "36 % MFU (6 operations a parameter, no attention)."
)
WIDTH = 80
CORPUS = Corpus()
STEPS, TOKENS_PER_STEP = 200_000, 1_048_576
GROUPS = {
    "model and training": ("model", "adapter_rank", "bits", "rows", "row_length", "steps", "tokens_per_step"),
    "machines": ("gpus", "gpu_memory", "peak_tflops", "mfu", "network_speed"),
    "checkpoints": ("disk_speed", "checkpoint_every", "kept_checkpoints"),
    "data path": ("corpus", "cores", "figures"),
    "preference tuning": ("preferences",),
}


@look(groups=GROUPS)
def plan(
    model: str = "llama-2-7b",
    adapter_rank: int | None = None,
    bits: Literal[4, 8] | None = None,
    gpus: list[int] | None = None,
    gpu_memory: float = 80.0,
    rows: int = 4,
    row_length: int = 4096,
    steps: int = STEPS,
    tokens_per_step: int = TOKENS_PER_STEP,
    peak_tflops: float = 312.0,
    mfu: float = 0.40,
    network_speed: float = 25.0,
    disk_speed: float = 5.0,
    checkpoint_every: int = 1000,
    kept_checkpoints: int = 3,
    corpus: Corpus = CORPUS,
    cores: int = 64,
    figures: Path | None = None,
    preferences: Preferences | None = None,
) -> None:
    """Print what a training takes: memory and time of GPUs, network, checkpoints, and the way of the data.

    docs/multi-node.md explains every line.

    Examples:
        spiritlm plan
        spiritlm plan --gpus '[1, 8]' --rows 2 --preferences.pairs 50000 --preferences.pair_tokens 1200
        spiritlm plan --adapter-rank 16 --gpus '[1]' --gpu-memory 24 --bits 4 --rows 1
        spiritlm plan --corpus.hours 1000 --corpus.aligned_hours 1000 --corpus.text_tokens 1e9 --cores 16

    Args:
        model: llama-2-7b, llama-1b, smollm2-135m, or a model folder or hub name. Models of a few million parameters do
            not reach the speed of `mfu`.
        adapter_rank: rank of adapters (LoRA) of all linear layers that are trained in place of the model, with the new
            rows of its embeddings; the model itself is trained if left out.
        bits: 4 or 8 for frozen matrices that bitsandbytes quantizes; bf16 if left out.
        gpus: numbers of GPUs to plan for, such as 8 or '[8, 64]'; 1, 8 and 64 by default.
        gpu_memory: memory of one GPU in GB (1e9 bytes).
        rows: rows in the batch of one GPU; gradients are accumulated to reach the tokens of a step.
        row_length: number of tokens in a row.
        steps: number of optimizer steps of the training.
        tokens_per_step: tokens of one optimizer step over all GPUs.
        peak_tflops: peak speed of one GPU in bf16, in TFLOPS: 312 for A100, 989 for H100 and H200.
        mfu: share of the peak speed that the model reaches, attention included, in (0, 1]; 0.40 is the published run's.
        network_speed: GB a second that each GPU sends to other GPUs, while it receives as many; 25 is 200 Gb/s.
        disk_speed: GB a second that all GPUs together write to the disk of checkpoints.
        checkpoint_every: number of steps from one checkpoint to the next.
        kept_checkpoints: number of checkpoints that are kept.
        corpus: amounts of speech and text; the published ones by default.
        cores: number of CPU cores that tokenise and build blocks.
        figures: YAML file with figures of your own machine in place of the package's planning/figures.yaml.
        preferences: pairs for preference tuning, which determine steps and their tokens; no corpus is planned then. If
            left out, pretraining is planned.
    """
    if not 0 < mfu <= 1:
        raise ValueError(f"mfu must be in (0, 1], but is {mfu} instead")
    if preferences is not None:
        if (steps, tokens_per_step) != (STEPS, TOKENS_PER_STEP):
            raise ValueError("steps and tokens_per_step must be left out with preferences, which determine them")
        steps, tokens_per_step = preferences.steps, preferences.tokens_per_step
    limits = {"steps": steps, "tokens_per_step": tokens_per_step, "cores": cores}
    for name, value in limits.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value} instead")
    speeds = {"gpu_memory": gpu_memory, "peak_tflops": peak_tflops, "network_speed": network_speed}
    for name, speed in (speeds | {"disk_speed": disk_speed}).items():
        if not (isfinite(speed) and speed > 0):
            raise ValueError(f"{name} must be above 0, but is {speed:g} instead")
    counts = [*dict.fromkeys(gpus or [1, 8, 64])]
    if bits is not None and adapter_rank is None:
        raise ValueError(
            f"bits must be left out without adapter_rank, as quantized weights are not trained, but is {bits}"
        )
    config = _config(model)
    own_figures, size = Figures.load(figures), model_size(config)
    adapter = None if adapter_rank is None else adapter_size(config, adapter_rank, bits)
    speed_pair = [
        tokens_per_second(size, row_length, peak_tflops * 1e12, mfu, again, adapter) for again in (False, True)
    ]
    memories = [  # checks the counts
        memory_table(size, count, gpu_memory, rows, row_length, adapter, quantized=bits is not None) for count in counts
    ]
    batches = [ceil(tokens_per_step / (count * rows * row_length)) for count in counts]
    seconds = [(one * rows * row_length / speed_pair[0], one * rows * row_length / speed_pair[1]) for one in batches]
    network = network_table(size, [*zip(counts, batches, strict=True)], network_speed * GB, seconds)
    checkpoints = [
        Checkpoints(parameters=size.parameters, gpus=count, kept=kept_checkpoints, bandwidth=disk_speed * GB)
        for count in counts
    ]
    step_seconds = [kept for kept, _ in seconds]
    saving = checkpoint_table([*zip(checkpoints, step_seconds, strict=True)], checkpoint_every)
    data = data_table(data_path(corpus, own_figures, size.vocabulary), cores)

    console = Console(width=WIDTH, highlight=False)
    weights = size.matrix_weights if adapter is None else size.matrix_weights * 2 / 3 + adapter.trained
    operations = training_flops(weights, size.attention_width, row_length / 2)
    if adapter is not None:
        share = 100 * adapter.trained / (size.parameters + adapter.trained)
        console.print(
            f"adapters of rank {adapter.rank} and {NEW_ROWS} new rows: {adapter.trained / 1e6:,.1f} M parameters "
            f"({share:.2f} %) are trained;\nfrozen weights: {adapter.frozen_bytes / GB:,.1f} GB; the exported adapter "
            f"in fp32: {4 * adapter.trained / GB:,.2f} GB"
        )
    console.print(
        f"{model}: {_short(size.parameters)} parameters, {_short(operations)}FLOP a token in training\n"
        f"({100 * 6 * weights / operations:.0f} % in the weights), {rows} rows of {row_length} a GPU\n"
        "layers: kept for the backward pass; recomp.: with gradient checkpointing\n"
    )
    told_steps = f"{steps / 1000:,.0f}k" if steps >= 10_000 else f"{steps:,}"
    for count, table, of_step in zip(counts, memories, seconds, strict=True):
        console.print(table)
        for name, speed, step in zip(("kept layers:", "recomputed:"), speed_pair, of_step, strict=True):
            hours = steps * step / 3600
            console.print(
                f"{name:<13}{speed:,.0f} tokens/s/GPU; {told_steps} steps: {hours / 24:,.1f} days, "
                f"{hours * count:,.0f} GPU hours"
            )
        console.print()
    if adapter is not None:
        return  # the tables below are those of pretraining
    console.print(network)
    for count, one in zip(counts, batches, strict=True):
        if (tokens := count * one * rows * row_length) != tokens_per_step:
            console.print(f"{count} GPUs: {tokens:,} tokens a step, since batches are whole\n")
    console.print(saving)
    if size.tied:
        console.print(f"FSDP2 writes tied embeddings twice: {STATE_WIDTH * size.input_layer / GB:,.1f} GB more")
    console.print(f"exported model, in bf16: {checkpoints[0].export / GB:,.1f} GB\n")
    if preferences is not None:
        console.print("\n".join(preferences.lines(size, row_length, speed_pair[0])))
        return
    console.print(data)
    console.print(f"figures measured on {own_figures.machine}")
    if model == "llama-2-7b":
        console.print(PUBLISHED)


def _config(model: str) -> PreTrainedConfig:
    if model in PRESETS:
        return AutoConfig.for_model(**PRESETS[model])
    within = Path(model) / "lm"  # of a folder with all models of a speaker
    try:
        return checkpoint_config(str(within) if within.is_dir() else model)
    except ValueError as error:
        told = str(error).removeprefix("checkpoint")  # which is what it is to others
        raise ValueError(f"model{told}; besides, {', '.join(PRESETS)} are known") from error


def _short(number: float) -> str:
    """Return a large number in millions or thousands of millions."""
    return f"{number / 1e9:.2f} G" if number >= 1e8 else f"{number / 1e6:.2f} M"
