"""`spiritlm merge-adapter`: an adapter (LoRA) and its base model to one model folder."""

from pathlib import Path
from typing import Literal


def merge_adapter(
    model: Path, adapter: Path, output: Path, dtype: Literal["stored", "float32", "bfloat16", "float16"] = "stored"
) -> None:
    """Add the updates of an adapter to the matrices of its base model, and write the result as a model folder.

    Examples:
        spiritlm merge-adapter quickstart/model runs/lora/export tuned
        spiritlm merge-adapter data/base_lm/llama-2-7b runs/lora/export tuned --dtype bfloat16

    Args:
        model: folder of the base language model; or model folder with lm, speech_tokenizer and vocoder, which are
            copied.
        adapter: folder of the adapter.
        output: folder to write, which must be new or empty.
        dtype: number format of the written weights; stored keeps that of the base model.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the adapter is of another base model.
    """
    import torch
    from transformers.utils.logging import disable_progress_bar

    from spiritlm_pl.adapters import merge

    disable_progress_bar()  # the bars of reading and writing the weights would disturb the output
    chosen = None if dtype == "stored" else getattr(torch, dtype)
    print(f"wrote {merge.merge_adapter(model, adapter, output, chosen)}")
