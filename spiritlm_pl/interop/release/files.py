"""Reading of files of the published release, and of the tools with which it was made."""

import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spiritlm_pl.runtime.checkpoint import check_finite, mismatch
from spiritlm_pl.runtime.found import found_at

Weights = dict[str, Tensor]
FAIRSEQ_DICTIONARY = "fairseq.data.dictionary.Dictionary"


class _Dictionary:
    """Stand-in for fairseq's list of symbols, which its checkpoints hold and nothing here uses."""


def read_pickle(path: str | Path) -> dict[str, Any]:
    """Read a `.pt` or `.bin` file, mapped from the disk where possible, without running code in it.

    Raises:
        FileNotFoundError: if the file is missing.
        PermissionError: if the file may not be read.
        ValueError: if the file is damaged, or holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint must hold {path.name}, but {found_at(path)}")
    mapped = zipfile.is_zipfile(path)  # files of old versions of torch cannot be mapped
    try:
        with torch.serialization.safe_globals([(_Dictionary, FAIRSEQ_DICTIONARY)]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle's protocol
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        reason = _strange_contents(path) if mapped else "it holds other things or is no such file"
        raise ValueError(f"checkpoint must hold tensors and plain values, but {path} does not: {reason}") from error
    except PermissionError:
        raise
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise ValueError(f"checkpoint must be a whole file of torch.save, but {path} is damaged") from error
    if not isinstance(found, dict):
        raise ValueError(f"checkpoint must hold a dictionary, but {path} holds a {type(found).__name__} instead")
    return found


def _strange_contents(path: Path) -> str:
    """Name the first few functions and classes that a file of `torch.save` would call."""
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (RuntimeError, ValueError):  # an archive of another kind
        names = []
    return f"it names {', '.join(names[:3])}" if names else "it is no such file"


def read_json(path: str | Path) -> dict[str, Any]:
    """Read the configuration beside weights.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if the file is not a JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint must hold {path.name}, but {found_at(path)}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be JSON, but is not: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object, but holds a {type(found).__name__} instead")
    return found


def part(found: dict[str, Any], name: str, path: str | Path) -> Any:
    """Return an entry of a file.

    Args:
        found: contents of the file.
        name: name of the entry.
        path: path of the file, for the message.

    Raises:
        ValueError: if there is no entry of that name.
    """
    if name not in found:
        raise ValueError(f"{path} must hold {name!r}, but holds {', '.join(map(repr, found))} instead")
    return found[name]


def fill(network: nn.Module, weights: Weights, path: str | Path) -> None:
    """Load renamed weights into a network, which must have all of them and no others.

    Args:
        network: network whose weights are set, and which is put into evaluation mode.
        weights: weights by their names in the network.
        path: file of the weights, for messages.

    Raises:
        ValueError: if names or shapes differ, or a value is not a finite tensor.
    """
    strange = next((name for name, value in weights.items() if not isinstance(value, Tensor)), None)
    if strange is not None:
        raise ValueError(f"{path} must hold tensors, but {strange} is a {type(weights[strange]).__name__} instead")
    try:
        network.load_state_dict({name: value.float() for name, value in weights.items()})
    except RuntimeError as error:
        raise ValueError(
            f"{path} must hold the weights that its configuration says, but does not: {mismatch(error)}"
        ) from error
    check_finite(weights, path)
    network.eval()


def weight_norm_names(name: str) -> str:
    """Return a weight's name in torch's parametrised weight norm, from older names in `weight_g` and `weight_v`."""
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        if name.endswith(f".{old}"):
            return f"{name.removesuffix(old)}parametrizations.weight.{new}"
    return name
