"""What makes a model, by which adapters and log-likelihoods tell the one that they belong to: its weights and its sums.

The hash of the weights is the same for every way of storing them: files of any size, tied matrices written once or
twice, float32 or bfloat16. So it is made of values from all over each weight, rounded to bfloat16, without names. How a
model computes is told by the values of its configuration that change anything about it.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedConfig

from spiritlm_pl.lm.base_model import checkpoint_config, model_folder

VALUES = 65_536  # about as many of each matrix are hashed
SAFE, PICKLED = "*.safetensors", "pytorch_model*.bin"
CONSTANTS = (".inv_freq", ".masked_bias")  # endings of what older files hold beside the weights, as 4-D masks
# Values of a configuration that change nothing about what the model computes when it is used, beside dropout.
BOOKKEEPING = (
    *("_name_or_path", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version"),
    *("use_cache", "quantization_config", "initializer_range", "bos_token_id", "eos_token_id", "pad_token_id"),
    *("id2label", "label2id", "problem_type", "return_dict", "output_attentions", "output_hidden_states"),
)


def model_hash(checkpoint: str | Path) -> str:
    """Hash the weights of a model and how it computes, in hexadecimal.

    Args:
        checkpoint: model folder, or name of a model on the hub that was fetched before.

    Raises:
        FileNotFoundError, ValueError: as by `weights_hash`, and if there is no such model.
    """
    folder = model_folder(str(checkpoint), "checkpoint")
    weights = weights_hash(folder)
    told = json.dumps(computation(checkpoint_config(str(folder))), sort_keys=True)
    return hashlib.sha256(f"{weights} {told}".encode()).hexdigest()


def weights_hash(folder: str | Path) -> str:
    """Hash the weights of a model folder, in hexadecimal.

    Args:
        folder: folder of `transformers` with weights.

    Raises:
        FileNotFoundError: if it holds no weights.
        ValueError: if the weights are damaged.
    """
    folder = Path(folder)
    files = sorted(folder.glob(SAFE)) or sorted(folder.glob(PICKLED))
    if not files:
        raise FileNotFoundError(f"model must hold weights, but {folder} holds no {SAFE}")
    digests = {_digest(value) for file in files for value in _weights(file)}
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def computation(config: PreTrainedConfig) -> dict[str, Any]:
    """Return the values of a configuration on which it depends what the model computes, as JSON has them."""
    values: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return {name: value for name, value in sorted(values.items()) if name not in BOOKKEEPING and "drop" not in name}


def _weights(file: Path) -> Iterator[Tensor]:
    """Yield the weights of a file, of which the values that are asked for are read."""
    for name, value in _named(file):
        if value.dim() != 4 and not name.endswith(CONSTANTS):
            yield value


def _named(file: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        if file.suffix == ".bin":
            yield from torch.load(file, map_location="cpu", weights_only=True, mmap=True).items()
            return
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  it is no dictionary
                yield name, opened.get_tensor(name)
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise ValueError(f"model must hold readable weights, but {file} is damaged: {error}") from error


def _digest(weight: Tensor) -> bytes:
    flat = weight.flatten()
    step = max(1, len(flat) // VALUES)
    step += 1 - step % 2  # odd, so that not the same columns are taken from each row
    values = flat[::step].to(torch.bfloat16).view(torch.int16).numpy()
    shape = np.array(weight.shape, dtype=np.int64)
    return hashlib.sha256(shape.tobytes() + values.tobytes()).digest()
