"""Shards of torch's distributed checkpoints: a folder with a file for each rank and a table of contents.

Any number of ranks reads what any other number wrote, since tensors are found by name and place.
"""

import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from spiritlm_pl.runtime.checkpoint import is_of_writing
from spiritlm_pl.runtime.checksums import check_archive, checked, recorded
from spiritlm_pl.runtime.found import found_at

SHARDS = "shards"  # folder of them in a checkpoint
REST = "meta.pt"  # what the trainer saves beside weights and optimizer state, under Lightning's name
CONTENTS = ".metadata"  # torch's table of contents
WEIGHTS = "state_dict."
READER = "PytorchStreamReader"  # word of torch's RuntimeError where a file is damaged
OF_PICKLE = (pickle.UnpicklingError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError)


def has_shards(checkpoint: Path) -> bool:
    """Whether a checkpoint is a folder of distributed shards."""
    return (checkpoint / SHARDS).is_dir()


def check_shards(checkpoint: Path) -> None:
    """Check that a checkpoint is a folder of distributed shards.

    Raises:
        ValueError: if it is something else.
    """
    if not has_shards(checkpoint):
        raise ValueError(f"checkpoint must be one of FSDP2, with the folder {SHARDS}, but {checkpoint} is not")


def check_shard_files(checkpoint: Path, rank: int = 0, ranks: int = 1) -> None:
    """Compare the files of a checkpoint with the checksums in and beside them, every so-many-th by each rank.

    Raises:
        ValueError: if a file is damaged.
    """
    folder = checkpoint / SHARDS
    checked(folder / CONTENTS)
    check_archive(folder / REST)
    places: dict[str, list[tuple[int, int]]] = {}
    with readable(checkpoint):
        for one in FileSystemReader(folder).read_metadata().storage_data.values():
            places.setdefault(one.relative_path, []).append((one.offset, one.length))
        for name in sorted(places)[rank::ranks]:
            with (folder / name).open("rb") as file:
                for offset, length in places[name]:
                    file.seek(offset)
                    check_archive(folder / name, file.read(length))


def write_shards(tensors: dict[str, Any], rest: bytes, folder: Path, group: ProcessGroup) -> None:
    """Write this rank's part of a state; all ranks call.

    Args:
        tensors: nested dictionaries of tensors, of which each rank has its shares, and of other values.
        rest: content of the file for everything else, which rank zero gives; the others give b"".
        folder: folder of the shards, which exists.
        group: ranks that write, over gloo.

    Raises:
        OSError: on every rank, if one of them cannot write.
        RuntimeError: on every rank, if one of them fails otherwise.
    """
    try:
        save(tensors, storage_writer=FileSystemWriter(folder), process_group=group)
    except CheckpointException as error:  # no Exception: it would end the thread without a word
        rank, (found, _) = next(iter(error.failures.items()))
        if not (isinstance(found, Exception) and is_of_writing(found)):
            raise RuntimeError(f"rank {rank}: {found!r}") from error
        raise OSError(f"rank {rank}: {found}") from error
    if rest:
        (folder / REST).write_bytes(rest)
        with recorded(folder, CONTENTS):  # the other files have checksums within
            pass


def read_rest(checkpoint: Path) -> dict[str, Any]:
    """Read what the trainer saved beside weights and optimizer state.

    Raises:
        ValueError: if the file is missing or damaged.
    """
    path = checkpoint / SHARDS / REST
    if not path.is_file():
        raise ValueError(f"checkpoint must be whole, but {found_at(path)}")
    with readable(checkpoint):
        rest: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return rest


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Read all weights of a checkpoint by name, in one process; optimizer state is not read.

    Raises:
        ValueError: if the checkpoint is damaged.
    """
    folder = checkpoint / SHARDS
    with readable(checkpoint):
        contents = FileSystemReader(folder).read_metadata().state_dict_metadata
        weights = {
            name.removeprefix(WEIGHTS): torch.empty(entry.size, dtype=entry.properties.dtype)
            for name, entry in contents.items()
            if name.startswith(WEIGHTS) and isinstance(entry, TensorStorageMetadata)
        }
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # as is meant here
            load({WEIGHTS[:-1]: weights}, checkpoint_id=folder, no_dist=True)
    return weights


@contextmanager
def readable(checkpoint: Path) -> Iterator[None]:
    """Turn errors of torch over damaged, missing or other files into a ValueError that names the checkpoint."""
    try:
        yield
    except CheckpointException as error:
        _, (found, _) = next(iter(error.failures.items()))
        raise _unreadable(checkpoint, found) from error
    except (OSError, EOFError, *OF_PICKLE) as error:
        raise _unreadable(checkpoint, error) from error
    except RuntimeError as error:
        if READER not in str(error):
            raise
        raise _unreadable(checkpoint, error) from error


def _unreadable(checkpoint: Path, error: BaseException) -> ValueError:
    return ValueError(f"checkpoint must be whole, and of this model, but {checkpoint} cannot be read: {error}")
