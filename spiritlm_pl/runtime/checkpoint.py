"""Folders of trained networks: `config.json` (stage, class, configuration) and `model.safetensors`.

A stage exports such a folder, and the next one loads it. Optimizer state stays in the trainer's own checkpoints.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from spiritlm_pl.registry import check_trusted, load_path, path_of
from spiritlm_pl.runtime.checksums import check_plain, checked, read_object, recorded, values_of
from spiritlm_pl.runtime.found import found_at, lacks
from spiritlm_pl.runtime.older_names import todays_name
from spiritlm_pl.runtime.provenance import atomic_path, code_version

CONFIG_FILE = "config.json"
TOKENIZER_STAGE = "speech_tokenizer"
METRICS_FILE = "metrics.json"  # last metrics of the training that made the network
WEIGHTS_FILE = "model.safetensors"
INSTEAD_OF_PATHS = ("best", "last", "hpc", "registry")  # what Lightning takes
IN_CHECKPOINTS = ("latest", "checkpoint", "shards", "meta.pt", ".metadata")  # in those that are folders, by strategies
WRITER = ("PytorchStreamWriter", "inline_container")  # words of torch's RuntimeError where a disk is full

Network = TypeVar("Network", bound=nn.Module)


def newest_checkpoint(folder: str | Path, pattern: str = "*.ckpt") -> Path | None:
    """Return the newest complete checkpoint of a trainer in a folder, None where there is none; links are followed.

    Lightning's `last.ckpt` is a broken link if the run was stopped between removing a checkpoint and linking the next.

    Args:
        folder: folder to look in; it may be missing.
        pattern: pattern of the names that count.
    """
    found = {path.resolve() for path in Path(folder).glob(pattern) if path.exists()}
    whole = [path for path in found if zipfile.is_zipfile(path) or _last_file(path).is_file()]
    return max(whole, key=saved_at, default=None)


def check_is_checkpoint(path: str, argument: str) -> None:
    """Refuse a path where there is nothing, or a folder that no strategy has written.

    Args:
        path: path as it was given; words that Lightning takes in place of one, and addresses, are left to it.
        argument: name of the argument that gives it.

    Raises:
        ValueError: if there is no checkpoint.
    """
    if path in INSTEAD_OF_PATHS or ":" in path:
        return
    place = Path(path).expanduser()  # as Lightning does
    if not place.exists():
        raise ValueError(f"{argument} must be a checkpoint, or last for the newest one, but {found_at(path)}")
    if place.is_dir() and not any((place / name).exists() for name in IN_CHECKPOINTS):
        newest = newest_checkpoint(place)
        advice = "" if newest is None else f": did you mean {newest}?"
        raise ValueError(f"{argument} must be a checkpoint, but {path} is a folder that is none{advice}")


def saved_at(checkpoint: Path) -> float:
    """Return the time at which a complete checkpoint was saved, in seconds of the file system's clock."""
    last = _last_file(checkpoint)  # a folder's own time changes when the checkpoint is converted for other ranks
    return (last if last.is_file() else checkpoint).stat().st_mtime


def _last_file(checkpoint: Path) -> Path:
    """Return the path of the file that DeepSpeed writes last into a checkpoint folder."""
    return checkpoint / "latest"


def is_of_writing(error: Exception) -> bool:
    """Whether an error says that a file cannot be written, as on a full disk."""
    return isinstance(error, OSError) or any(word in str(error) for word in WRITER)


def save_network(folder: str | Path, network: nn.Module, stage: str, extra: dict[str, Any] | None = None) -> Path:
    """Write a network whose only constructor argument is a dataclass, kept as `network.config`; return the folder.

    Args:
        folder: folder to write to; created where it is absent, and replaced file by file.
        network: the network, on any device.
        stage: kind of network ("hubert", "quantizer", "vocoder", ...), which is checked at loading.
        extra: further JSON values to store (metrics, parents); None for no more.
    """
    folder = Path(folder)
    description = {"stage": stage, **describe_network(network), "code_version": code_version(), **(extra or {})}
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with recorded(folder, WEIGHTS_FILE, CONFIG_FILE):
        with atomic_path(folder / WEIGHTS_FILE) as path:
            save_file(weights, path)
        with atomic_path(folder / CONFIG_FILE) as path:
            path.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return folder


def describe_network(network: nn.Module) -> dict[str, Any]:
    """Return class path and configuration of a network, from which `build_network` can build another one."""
    config = network.config
    assert is_dataclass(config) and not isinstance(config, type)
    return {"class_path": path_of(type(network)), "config": asdict(config)}


def read_config(folder: str | Path, stage: str) -> dict[str, Any]:
    """Read the `config.json` of an exported network.

    Raises:
        ValueError: if the folder is not an exported network, is damaged, or is of another stage.
    """
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"checkpoint must be a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, but {lacks(folder)}")
    description = read_object(path)
    if description.get("stage") != stage:
        raise ValueError(
            f"checkpoint must be of stage {stage!r}, but {folder} is of stage {description.get('stage')!r} instead"
        )
    return description


def is_own_class(folder: str | Path) -> bool:
    """Whether a folder holds a speech tokenizer of a single class, not one made of features and a quantizer."""
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        return False
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(description, dict) and "class_path" in description and description.get("stage") == TOKENIZER_STAGE


def check_finite(weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Check that all weights are finite.

    Raises:
        ValueError: if a weight is nan or infinite.
    """
    for name, value in weights.items():
        if value.numel() and not bool(torch.stack(torch.aminmax(value)).isfinite().all()):  # needs no further memory
            raise ValueError(f"weights must be finite, but {name} of {source} is not")


def mismatch(error: RuntimeError) -> str:
    """Return the first line of torch's message about weights that do not fit."""
    return next((line.strip() for line in str(error).splitlines()[1:] if line.strip()), str(error))


def load_network(folder: str | Path, stage: str, device: str | torch.device = "cpu") -> nn.Module:
    """Load an exported network in evaluation mode.

    Args:
        folder: folder that was written by `save_network`.
        stage: kind of network that the folder must hold.
        device: device on which the network is placed.

    Raises:
        ValueError: if the folder holds another stage, damaged files, or a class that may not be loaded.
    """
    description = read_config(folder, stage)
    network = build_network(description, Path(folder) / CONFIG_FILE)
    path = Path(folder) / WEIGHTS_FILE
    try:
        weights = load_file(checked(path))
        network.load_state_dict(weights)
    except SafetensorError as error:
        raise ValueError(f"checkpoint must hold readable weights, but {path} is damaged: {error}") from error
    except RuntimeError as error:
        raise ValueError(
            f"checkpoint must hold the weights that its configuration says, but {path} does not: {mismatch(error)}"
        ) from error
    check_finite(weights, path)
    return network.to(device).eval()


def build_network(description: Mapping[str, Any], where: str | Path) -> nn.Module:
    """Build a network from its description, with random weights.

    Args:
        description: class path and configuration, from `describe_network`.
        where: file that holds the description, for messages.

    Raises:
        ValueError: if the class may not be loaded, or is not a network that is made from a dataclass.
    """
    with values_of(Path(where)):
        return _built(description, where)


def _built(description: Mapping[str, Any], where: str | Path) -> nn.Module:
    class_path = todays_name(description["class_path"])
    check_trusted(class_path, where)
    network_class = load_path(class_path, f"class_path of {where}")
    config_class: Any = getattr(network_class, "config_class", None)
    is_network = isinstance(network_class, type) and issubclass(network_class, nn.Module)
    if not (is_network and isinstance(config_class, type) and is_dataclass(config_class)):
        raise ValueError(
            f"class_path must be a torch.nn.Module with a config_class (a dataclass), but is {class_path} in {where}"
        )
    known = {field.name for field in fields(config_class)}
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in description["config"].items()
        if name in known
    }
    check_plain(values, {name: kind for name, kind in get_type_hints(config_class).items() if name in values})
    network: nn.Module = network_class(config_class(**values))
    return network
