"""Folders of trained language models: a Hugging Face model, `spiritlm.json`, and the text tokenizer.

Any tool that reads Hugging Face folders can serve such a model; `spiritlm.json` describes the ids above those of text.
"""

import json
import pickle
import sys
from contextlib import redirect_stdout, suppress
from importlib.util import find_spec
from json import JSONDecodeError
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from spiritlm_pl.lm.base_model import CONFIG_NAME, model_folder
from spiritlm_pl.lm.rotary_names import check_rotary_base, older_rotary_names
from spiritlm_pl.runtime.checkpoint import check_finite
from spiritlm_pl.runtime.checksums import CHECKSUMS, check_folder, record_all
from spiritlm_pl.runtime.foreign_models import WRONG_VALUES
from spiritlm_pl.runtime.left_over import temporary_folder
from spiritlm_pl.runtime.model_description import DESCRIPTION_FILE, STAGE, read_vocabulary
from spiritlm_pl.runtime.provenance import code_version
from spiritlm_pl.text_tokenizers.tokenizer import TOKENIZER_FILES, TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

SHARD_SIZE = "2GB"  # a shard is held in memory twice while it is written
GENERATION_FILE = "generation_config.json"  # users may change it; nothing here reads it
WEIGHT_FILES = ("model*.safetensors", "model*.safetensors.index.json", "pytorch_model*")
LoadedLM: TypeAlias = tuple[PreTrainedModel, TextTokenizer, Vocabulary]


def save_lm(
    folder: str | Path,
    network: PreTrainedModel,
    vocabulary: Vocabulary,
    text_tokenizer: TextTokenizer | None = None,
    weights: dict[str, Tensor] | None = None,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write a model folder; a previous one there stays whole until the new one is complete.

    Args:
        folder: folder to write; created where it is absent.
        network: model whose configuration and weights are written.
        vocabulary: layout of the token ids.
        text_tokenizer: text tokenizer to save in the folder; None saves none.
        weights: weights to write in place of the network's own, such as gathered shards; None writes those of the
            network.
        extra: further JSON values for `spiritlm.json`; None for no more.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    description = {"stage": STAGE, "vocabulary": vocabulary.to_dict(), "code_version": code_version(), **(extra or {})}
    with temporary_folder(folder) as new:
        write_model(new, network, SHARD_SIZE, weights)
        (new / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        if text_tokenizer is not None:
            text_tokenizer.save(new)
        names = sorted(path.name for path in new.iterdir())
        record_all(new, [GENERATION_FILE])
        folder.mkdir(exist_ok=True)
        for name in (CHECKSUMS, *names):  # the checksums first, so that files of two models are not taken for one
            (new / name).chmod(0o644)
            (new / name).replace(folder / name)
    stale = WEIGHT_FILES if text_tokenizer is None else (*WEIGHT_FILES, *TOKENIZER_FILES)
    for old in {found for pattern in stale for found in folder.glob(pattern)}:
        if old.name not in names:  # a weight file of an earlier model would be read instead
            old.unlink()
    return folder


def write_model(
    folder: Path, network: PreTrainedModel, max_shard_size: str, weights: dict[str, Tensor] | None = None
) -> None:
    """Write configuration and weights in the format of `transformers`, readable by its version 4 and other tools too.

    Standard output stays free for the caller.

    Args:
        folder: folder to write to, which exists.
        network: model whose configuration is written.
        max_shard_size: largest size of a weight file, such as "2GB".
        weights: weights to write in place of the network's own; None writes those of the network.
    """
    if weights is not None:
        weights = _tied(weights, network)
    with redirect_stdout(sys.stderr):  # saving imports DeepSpeed, which prints its accelerator
        network.save_pretrained(folder, state_dict=weights, max_shard_size=max_shard_size)
    path = folder / "config.json"
    values = {**json.loads(path.read_text(encoding="utf-8")), **older_rotary_names(network.config)}
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _tied(weights: dict[str, Tensor], network: PreTrainedModel) -> dict[str, Tensor]:
    """Make weights that a model ties one tensor again, so that `save_pretrained` writes them once."""
    shared = dict(weights)
    for name, source in network.all_tied_weights_keys.items():
        if {name, source} <= shared.keys() and torch.equal(shared[name], shared[source]):
            shared[name] = shared[source]
    return shared


def own_text_tokenizer(checkpoint: str | None) -> str | None:
    """Return the folder of a checkpoint (or hub name) that holds a text tokenizer; None where it holds none."""
    folder = None if checkpoint is None else model_folder(checkpoint, "checkpoint")
    found = folder is not None and any((folder / file).is_file() for file in TOKENIZER_FILES)
    return str(folder) if found else None


def load_causal_lm(
    folder: str | Path,
    vocabulary: Vocabulary,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    bits: int | None = None,
    **options: Any,
) -> PreTrainedModel:
    """Load a causal language model in evaluation mode; weights go to the device shard by shard.

    Args:
        folder: model folder of `transformers`.
        vocabulary: layout of the token ids, which the embedding must fit.
        device: device on which the model is placed.
        dtype: type of the parameters; None keeps that of the files.
        bits: 8 or 4 to quantize the weights with bitsandbytes, which must be installed; None to leave them whole.
        options: further arguments of `from_pretrained`, such as a configuration in place of the folder's.

    Raises:
        ValueError: if the weights are damaged or incomplete, the embedding does not fit the vocabulary, or `bits` has
            another value.
        ModuleNotFoundError: if `bits` are given and bitsandbytes is not installed.
    """
    check_folder(folder)
    with suppress(OSError, JSONDecodeError):  # of a damaged file, transformers tells
        values = json.loads((Path(folder) / CONFIG_NAME).read_bytes())
        check_rotary_base(values if isinstance(values, dict) else {}, folder)
    quantized = {} if bits is None else {"quantization_config": quantization(bits)}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype or "auto", device_map=str(device), output_loading_info=True, **quantized, **options
        )
    except OSError as error:
        if error.errno is None:  # this is how transformers reports missing files
            raise FileNotFoundError(str(error).splitlines()[0]) from error
        raise ValueError(f"language model must hold readable weights, but {folder} is damaged: {error}") from error
    except WRONG_VALUES as error:
        told = " ".join(str(error).split())
        raise ValueError(f"configuration of {folder} must be one of its kind, but is not: {told}") from error
    except (SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        if "ignore_mismatched_sizes" in str(error):
            raise ValueError(
                f"weights of {folder} must have the sizes of its {CONFIG_NAME}, but have others"
            ) from error
        raise ValueError(f"language model must hold readable weights, but {folder} is damaged: {error}") from error
    network, found = loaded
    if found["missing_keys"]:
        lacking = min(found["missing_keys"])
        raise ValueError(f"language model must hold all of its weights, but {folder} lacks {lacking}")
    check_finite(dict(network.named_parameters()), folder)
    rows = len(cast(Tensor, network.get_input_embeddings().weight))
    if rows != vocabulary.num_rows:
        raise ValueError(f"embedding of {folder} must have {vocabulary.num_rows} rows, but has {rows}")
    network.config.use_cache = True
    network.eval()
    return cast(PreTrainedModel, network)


def quantization(bits: int) -> BitsAndBytesConfig:
    """Return the settings by which `from_pretrained` quantizes matrices; 4 bits are NF4, as of QLoRA.

    Args:
        bits: 8 or 4.

    Raises:
        ValueError: if `bits` has another value.
        ModuleNotFoundError: if bitsandbytes is not installed.
    """
    if bits not in (4, 8):
        raise ValueError(f"bits must be 4 or 8, but is {bits} instead")
    if find_spec("bitsandbytes") is None:
        raise ModuleNotFoundError(f"bits {bits} needs bitsandbytes: pip install bitsandbytes")
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)


def load_lm(
    folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None, bits: int | None = None
) -> LoadedLM:
    """Load the model in evaluation mode, the text tokenizer and the vocabulary of a folder.

    Args:
        folder: folder that was written by `save_lm` with a text tokenizer.
        device: device on which the model is placed.
        dtype: type of the parameters; None keeps that of the files.
        bits: 8 or 4 to quantize the weights, see `load_causal_lm`; None to leave them whole.

    Raises:
        ValueError: if the folder was not written by `save_lm`, or its embedding does not fit its vocabulary.
    """
    vocabulary = read_vocabulary(folder)
    return (
        load_causal_lm(folder, vocabulary, device, dtype, bits),
        TextTokenizer.load_fitting(folder, vocabulary),
        vocabulary,
    )
