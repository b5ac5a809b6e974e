"""`spiritlm consolidate`: a trainer's checkpoint to a model folder that anything can load."""

from pathlib import Path
from typing import Literal

from spiritlm_pl.cli.parser import writes


@writes("output")
def consolidate(
    checkpoint: Path, output: Path, text_tokenizer: str | None = None, dtype: Literal["float32", "bfloat16"] = "float32"
) -> None:
    """Merge a checkpoint of the language model, sharded by ZeRO-3 or FSDP2 or not at all, into one model folder.

    A checkpoint of a run that trained an adapter becomes the folder of the adapter.

    Examples:
        spiritlm consolidate runs/lm_7b/checkpoints/last.ckpt exports/lm_7b
        spiritlm consolidate 'runs/lm_7b/checkpoints/step=4000.ckpt' exports/step4000 --dtype bfloat16

    Args:
        checkpoint: `.ckpt` file or folder that a language model run has saved.
        output: the model folder to write.
        text_tokenizer: SentencePiece model, or folder with a tokenizer, to put into the model folder.
        dtype: number format of the written weights.
    """
    import torch

    from spiritlm_pl.interop.deepspeed import consolidate_checkpoint

    written = consolidate_checkpoint(checkpoint, output, text_tokenizer, getattr(torch, dtype))
    print(f"wrote {written}")
