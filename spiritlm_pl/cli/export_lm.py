"""`spiritlm export-lm`: a trained language model to a plain Hugging Face directory."""

from pathlib import Path
from typing import Literal


def export_lm(
    source: Path,
    output: Path,
    text_tokenizer: str | None = None,
    dtype: Literal["stored", "float32", "bfloat16", "float16"] = "stored",
    max_shard_size: str = "5GB",
    padding: bool = True,
) -> None:
    """Write a language model for transformers, vLLM or any tool of Hugging Face models.

    Examples:
        spiritlm export-lm quickstart/model/lm exported
        spiritlm export-lm runs/lm_7b/checkpoints/last.ckpt exported --text-tokenizer data/base_lm/llama-2-7b

    Args:
        source: model folder, or checkpoint of a language model run (a file, or a folder of ZeRO shards).
        output: directory to write; that of an earlier export is replaced.
        text_tokenizer: SentencePiece model, or folder with a tokenizer; needed for a checkpoint.
        dtype: number format of the written weights; stored keeps that of the source.
        max_shard_size: largest size of one file of weights, such as 5GB.
        padding: whether to keep the rows that only pad the embedding, which some readers refuse.
    """
    import torch
    from transformers.utils.logging import disable_progress_bar

    from spiritlm_pl.interop import export

    disable_progress_bar()  # the bars of reading and writing the weights would disturb the output
    chosen = None if dtype == "stored" else getattr(torch, dtype)
    written = export.export_lm(
        source, output, text_tokenizer, chosen, max_shard_size, padding=padding, fresh_process=True
    )
    print(f"wrote {written}")
