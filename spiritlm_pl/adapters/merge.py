"""Merging of an adapter into its base model, written as a model folder like any other."""

import shutil
from pathlib import Path
from typing import Any

import torch

from spiritlm_pl.adapters.folder import with_adapter
from spiritlm_pl.lm.folder import load_lm, save_lm
from spiritlm_pl.lm.identity import weights_hash
from spiritlm_pl.runtime.left_over import temporary_folder
from spiritlm_pl.runtime.model_description import (
    DESCRIPTION_FILE,
    LM,
    SPEECH_TOKENIZER,
    TEMPLATES,
    VOCODER,
    stored_templates,
)


def merge_adapter(model: str | Path, adapter: str | Path, output: str | Path, dtype: torch.dtype | None = None) -> Path:
    """Write a model with an adapter merged into its matrices; nothing is left of a merge that fails.

    It knows the templates of both; of two with one name, that of the adapter.

    Args:
        model: folder of the base language model; or a model folder, whose speech tokenizer and vocoder are copied.
        adapter: folder of the adapter.
        output: folder to write, which must be new or empty.
        dtype: type of the weights; None keeps that of the base model.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the adapter does not belong to the model, a file is damaged, or `output` is not empty.
    """
    model, output = Path(model), Path(output)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ValueError(f"output must be a new folder, but {output} is not empty")
    whole = not (model / DESCRIPTION_FILE).is_file() and (model / LM).is_dir()
    base = model / LM if whole else model
    network, text, vocabulary = load_lm(base, dtype=dtype)
    network = with_adapter(network, adapter, base, vocabulary)
    output.parent.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"base": str(base), "base_hash": weights_hash(base), "adapter": str(adapter)}
    if templates := {**stored_templates(base), **stored_templates(adapter)}:
        told[TEMPLATES] = templates
    with temporary_folder(output) as temporary:
        new = temporary / "new"
        save_lm(new / LM if whole else new, network, vocabulary, text, extra=told)
        for part in (SPEECH_TOKENIZER, VOCODER) if whole else ():
            if (model / part).is_dir():
                shutil.copytree(model / part, new / part)
        if output.exists():
            output.rmdir()
        new.rename(output)
    return output
