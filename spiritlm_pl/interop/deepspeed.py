"""Conversion of a trainer's checkpoint, one file or the shards of ZeRO-3 or FSDP2, to a language model folder."""

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from spiritlm_pl.adapters.folder import ADAPTER, AdapterDescription, save_adapter
from spiritlm_pl.data.blocks import TEXT_FINGERPRINT
from spiritlm_pl.interop.distributed import check_shard_files, has_shards, read_rest, read_weights
from spiritlm_pl.lm.base_model import config_of
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.runtime.checksums import check_archive
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.runtime.model_description import TEMPLATES
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

TAG = "checkpoint"  # name that Lightning gives to the shards in a checkpoint folder
PREFIX = "network."
NOT_OURS = "checkpoint must be one of the language model's (a .ckpt file, or a folder of shards)"


def consolidate_checkpoint(
    checkpoint: str | Path, folder: str | Path, text_tokenizer: str | None = None, dtype: torch.dtype = torch.float32
) -> Path:
    """Write the weights of a trainer's checkpoint as a language model folder, or as an adapter if one was trained.

    Args:
        checkpoint: file `.ckpt`, or folder `.ckpt` with the shards of any number of ranks.
        folder: folder to write to.
        text_tokenizer: SentencePiece model or folder of the text tokenizer to put into the model folder; None for none.
        dtype: type of the weights that are written.

    Raises:
        ValueError: if the checkpoint is damaged or not that of a language model, or if the text tokenizer is not the
            one of the training.
    """
    checkpoint = Path(checkpoint)
    description, weights = _read(checkpoint)
    if ADAPTER in description:
        own = {name.removeprefix(PREFIX): value.to(dtype) for name, value in weights.items()}
        return save_adapter(folder, own, AdapterDescription(**description[ADAPTER]))
    config = config_of({**json.loads(description["config"]), "use_cache": True}, checkpoint)
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, dtype=dtype)
    weights = {name.removeprefix(PREFIX): value.to(dtype) for name, value in weights.items()}
    missing = {name for name, _ in network.named_parameters()} - set(weights)
    if missing:
        raise ValueError(f"checkpoint must hold all weights of the model, but {checkpoint} lacks {min(missing)}")
    vocabulary, text = Vocabulary.from_dict(description["vocabulary"]), None
    if text_tokenizer is not None:
        text = TextTokenizer.load_fitting(text_tokenizer, vocabulary, description.get(TEXT_FINGERPRINT))
    templates = description.get(TEMPLATES)  # absent in checkpoints of earlier versions
    return save_lm(folder, network, vocabulary, text, weights, {TEMPLATES: templates} if templates else None)


def _read(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not checkpoint.is_dir():
        return _read_file(checkpoint)
    if not has_shards(checkpoint):
        return _read_shards(checkpoint)
    check_shard_files(checkpoint)
    rest = read_rest(checkpoint)
    if "language_model" not in rest:
        raise ValueError(f"{NOT_OURS}, but {checkpoint} is of another stage")
    return rest["language_model"], read_weights(checkpoint)


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise ValueError(f"{NOT_OURS}, but {found_at(path)}")
    check_archive(path)  # mapping does not
    with readable(path):
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(loaded, dict) or "language_model" not in loaded:
        raise ValueError(f"{NOT_OURS}, but {path} is of another stage")
    return loaded["language_model"], loaded["state_dict"]


def _read_shards(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    states = sorted((path / TAG).glob("*model_states.pt"))
    if not states:
        raise ValueError(f"{NOT_OURS}, but {path} holds no {TAG}/*model_states.pt")
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    check_zero_files(path)
    with readable(states[0]):
        loaded = torch.load(states[0], map_location="cpu", weights_only=False)  # from our own run; it holds classes
    if "language_model" not in loaded:
        raise ValueError(f"{NOT_OURS}, but {path} is of another stage")
    with readable(path):
        return loaded["language_model"], get_fp32_state_dict_from_zero_checkpoint(str(path), tag=TAG)


def check_zero_files(checkpoint: Path, rank: int = 0, ranks: int = 1) -> None:
    """Compare the files of a checkpoint folder with the checksums in them, every so-many-th by each rank.

    Raises:
        ValueError: if a file is damaged.
    """
    for file in sorted((checkpoint / TAG).glob("*.pt"))[rank::ranks]:
        check_archive(file)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn errors of torch and DeepSpeed over damaged files into a ValueError that names the file."""
    try:
        yield
    except (RuntimeError, EOFError, pickle.UnpicklingError, AssertionError) as error:
        raise ValueError(f"checkpoint must be whole, but {path} cannot be read: {error}") from error
