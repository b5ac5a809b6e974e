"""A hash of a base model's weights, by which an adapter tells the model that it belongs to.

It is the same for every way of storing the same weights: files of any size, tied matrices written once or twice,
float32 or bfloat16. So it is made of values from all over each matrix, rounded to bfloat16, without names.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

VALUES = 65_536  # about as many of each matrix are hashed
SAFE, PICKLED = "*.safetensors", "pytorch_model*.bin"


def base_hash(folder: str | Path) -> str:
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
        raise FileNotFoundError(f"base model must hold weights, but {folder} holds no {SAFE}")
    digests = {_digest(value) for file in files for value in _weights(file) if value.dim() >= 2}
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _weights(file: Path) -> Iterator[Tensor]:
    """Yield the weights of a file, of which the values that are asked for are read."""
    try:
        if file.suffix == ".bin":
            yield from torch.load(file, map_location="cpu", weights_only=True, mmap=True).values()
            return
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  it is no dictionary
                yield opened.get_tensor(name)
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise ValueError(f"base model must hold readable weights, but {file} is damaged: {error}") from error


def _digest(weight: Tensor) -> bytes:
    flat = weight.flatten()
    step = max(1, len(flat) // VALUES)
    step += 1 - step % 2  # odd, so that not the same columns are taken from each row
    values = flat[::step].to(torch.bfloat16).view(torch.int16).numpy()
    shape = np.array(weight.shape, dtype=np.int64)
    return hashlib.sha256(shape.tobytes() + values.tobytes()).digest()
