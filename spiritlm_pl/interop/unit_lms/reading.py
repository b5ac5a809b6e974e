"""Reading of a folder of `transformers` with a language model of units alone."""

from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, PreTrainedConfig

from spiritlm_pl.interop.unit_lms.layout import WRAPPER, UnitLayout, find_layout, read_object
from spiritlm_pl.interop.unit_lms.no_text import NoText
from spiritlm_pl.lm.base_model import config_of
from spiritlm_pl.lm.folder import LoadedLM, load_causal_lm
from spiritlm_pl.runtime.model_description import CONFIG_FILE

INNER_PREFIX = r"^lm\."  # of the weights of slamkit's wrapper


def read_unit_lm(
    folder: str | Path,
    layout: UnitLayout | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    bits: int | None = None,
) -> LoadedLM:
    """Load the model in evaluation mode, a text tokenizer that refuses every text, and the vocabulary.

    Args:
        folder: folder with `config.json` and weights of a causal language model, or of slamkit's wrapper of one.
        layout: ids of the units; None to tell them by the folder's files.
        device: device on which the model is placed.
        dtype: type of the parameters; None keeps that of the files.
        bits: 8 or 4 to quantize the weights, see `load_causal_lm`; None to leave them whole.

    Raises:
        ValueError: if the folder is no model of `transformers`, its layout cannot be told or does not fit.
        FileNotFoundError: if it has no configuration or no weights.
    """
    folder = Path(folder)
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"language model must hold {CONFIG_FILE}, but {folder} does not")
    values = read_object(folder / CONFIG_FILE)
    wrapped = values.get("model_type") == WRAPPER
    config = _config(folder, _inner(folder, values) if wrapped else values)
    layout = layout or find_layout(folder, values, config.vocab_size)
    vocabulary = layout.vocabulary(config.vocab_size)
    mapping: dict[str, Any] = {"key_mapping": {INNER_PREFIX: ""}} if wrapped else {}
    network = load_causal_lm(folder, vocabulary, device, dtype, bits, config=config, **mapping)
    return network, NoText(), vocabulary


def _inner(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of the model within slamkit's wrapper, with the number of rows that it was resized to.

    Its number format is left out: that of the base model, which the weights need not have.

    Raises:
        ValueError: if the configuration has none.
    """
    inner = values.get("base_config")
    if not isinstance(inner, dict):
        raise ValueError(f"base_config of {folder / CONFIG_FILE} must be a model's configuration, but is {inner!r}")
    kept = {name: value for name, value in inner.items() if name not in ("dtype", "torch_dtype")}
    return kept | {name: values[name] for name in ("vocab_size",) if isinstance(values.get(name), int)}


def _config(folder: Path, values: dict[str, Any]) -> PreTrainedConfig:
    """Return the configuration of a causal language model, without running code of the folder.

    Raises:
        ValueError: if this version of `transformers` has no such model, or the values are wrong.
    """
    kind = values.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise ValueError(f"model_type of {folder} must be one that transformers has itself, but is {kind!r} instead")
    found = config_of(values, folder / CONFIG_FILE)
    if not isinstance(getattr(found, "vocab_size", None), int):
        raise ValueError(f"{folder / CONFIG_FILE} must have a vocab_size, but has none")
    return found
