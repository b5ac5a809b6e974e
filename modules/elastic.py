"""Checkpoints of ZeRO-3 on another number of ranks than wrote them, through DeepSpeed's universal checkpoints.

A checkpoint folder holds one file of optimizer state for each rank that wrote it. DeepSpeed's own tool joins these
files into whole tensors, one file for each parameter and each of its states, of which any number of ranks takes its
shares (Lian et al., 2024). The whole tensors lie in the checkpoint folder, in `universal`, and go when it goes.

DeepSpeed 0.19 restores from them the weights that are trained, and their averages. `restore_rest` does what it leaves
out: each parameter group's own settings, a step count for each group, frozen weights and buffers.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spiritlm_pl.interop.deepspeed import TAG, readable

WHOLE = "universal"
POINTER = "latest_universal"  # DeepSpeed's file that names the folder of whole tensors; it is written last
CONVERTING = ".converting"
MODEL_STATES, OPTIMIZER_STATES = "*_model_states.pt", "*_optim_states.pt"
FROZEN_SHAPES, FROZEN_TAG, BUFFERS = "frozen_param_shapes", "frozen_param_fragments", "buffer_names"


def ranks_of(checkpoint: Path) -> int:
    """Return the number of ranks that wrote a checkpoint folder; 0 if it holds no shards.

    Raises:
        ValueError: if a file is missing.
    """
    models, states = (len(list((checkpoint / TAG).glob(kind))) for kind in (MODEL_STATES, OPTIMIZER_STATES))
    if models != states:
        raise ValueError(
            f"checkpoint must hold two files of each rank, but {checkpoint} holds {models} {MODEL_STATES} and "
            f"{states} {OPTIMIZER_STATES} instead"
        )
    return states


def make_universal(checkpoint: Path) -> Path:
    """Join the shards of a checkpoint folder into whole tensors, unless this was done before; one rank calls.

    Args:
        checkpoint: checkpoint folder, which gains the folder `universal`, about as large as its shards.

    Raises:
        ValueError: if the shards cannot be joined, because one is damaged or the folder cannot be written to.
    """
    whole, pointer, temporary = checkpoint / WHOLE, checkpoint / POINTER, checkpoint / CONVERTING
    if pointer.is_file() and whole.is_dir():
        return whole
    words = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--input_folder", TAG]
    words += ["--output_folder", f"{CONVERTING}/{WHOLE}"]
    try:
        for folder in (whole, temporary):  # of a conversion that was cut off
            shutil.rmtree(folder, ignore_errors=True)
        temporary.mkdir()
        # DeepSpeed takes paths for patterns, so that brackets in one would match nothing: they are given from here.
        done = subprocess.run(words, cwd=checkpoint, env=_single_process(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(_not_joined(checkpoint, (done.stderr.strip().splitlines() or ["no reason given"])[-1]))
        (temporary / WHOLE).rename(whole)
        (temporary / POINTER).rename(pointer)
    except OSError as error:
        raise ValueError(_not_joined(checkpoint, str(error))) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return whole


def _not_joined(checkpoint: Path, reason: str) -> str:
    return (
        f"checkpoint must be whole, in a folder that can be written to and with room for a copy of it, to go on with "
        f"another number of ranks than the {ranks_of(checkpoint)} that wrote it, but {checkpoint} cannot be converted: "
        f"{reason}"
    )


def _single_process() -> dict[str, str]:
    """Return this process's environment without its place among the ranks, and on the CPU."""
    ours = re.compile(r"(LOCAL_|NODE_|GROUP_)?RANK|(LOCAL_)?WORLD_SIZE|MASTER_(ADDR|PORT)|SLURM_.*|TORCHELASTIC_.*")
    kept = {name: value for name, value in os.environ.items() if not ours.fullmatch(name)}
    return {**kept, "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Read all weights of a checkpoint folder in float32, by name, whatever number of ranks wrote it.

    Raises:
        ValueError: if a file is damaged.
    """
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    with readable(checkpoint):
        weights: dict[str, Tensor] = get_fp32_state_dict_from_zero_checkpoint(str(checkpoint), tag=TAG)
    return weights


def load_weights(module: nn.Module, checkpoint: Path, weights: dict[str, Tensor] | None) -> dict[str, Any]:
    """Load weights into a network that ZeRO-3 has sharded, to be measured; every rank calls.

    Args:
        module: the network.
        checkpoint: checkpoint folder, from which buffers are read.
        weights: all weights by name on rank zero, None on the others.

    Returns:
        What the trainer saved in the checkpoint beside weights and optimizer state.

    Raises:
        ValueError: if a file is damaged.
    """
    file = min((checkpoint / TAG).glob(MODEL_STATES), key=_rank_of)
    with readable(file):
        saved: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=False)
    for name, parameter in module.named_parameters():
        _fill(parameter, None if weights is None else weights[name])
    _restore_buffers(module, saved)
    return {name: value for name, value in saved.items() if name != "module"}


def restore_rest(engine: Any, checkpoint: Path) -> None:
    """Restore what DeepSpeed leaves out when it loads whole tensors; every rank calls.

    Args:
        engine: DeepSpeed's engine, which has just loaded the whole tensors of the checkpoint.
        checkpoint: checkpoint folder.

    Raises:
        ValueError: if the optimizer has another number of parameter groups than the checkpoint.
    """
    _restore_groups(engine.optimizer.optimizer, checkpoint)
    _restore_frozen(engine.module, checkpoint)


def _restore_groups(optimizer: torch.optim.Optimizer, checkpoint: Path) -> None:
    saved = torch.load(checkpoint / WHOLE / "zero" / "optimizer_state.pt", map_location="cpu", weights_only=False)
    groups = saved["optimizer_state_dict"]["param_groups"]
    if len(groups) != len(optimizer.param_groups):
        raise ValueError(
            f"optimizer must have the {len(groups)} parameter groups of {checkpoint}, but has "
            f"{len(optimizer.param_groups)} instead"
        )
    for ours, theirs in zip(optimizer.param_groups, groups, strict=True):
        ours.update({name: value for name, value in theirs.items() if name != "params"})
    for state in optimizer.state.values():
        if isinstance(state.get("step"), Tensor):
            state["step"] = state["step"].clone()  # DeepSpeed gives all groups one tensor, which each would advance


def _restore_frozen(module: nn.Module, checkpoint: Path) -> None:
    """Restore weights that are not trained, one after the other, from the shards of all ranks, and buffers."""
    files = sorted((checkpoint / TAG).glob(MODEL_STATES), key=_rank_of)
    loaded = [torch.load(file, map_location="cpu", weights_only=False, mmap=True) for file in files]
    shapes: dict[str, torch.Size] = loaded[0].get(FROZEN_SHAPES) or {}
    parameters = dict(module.named_parameters())
    first = torch.distributed.get_rank() == 0
    for name, shape in shapes.items():
        shards = [part[FROZEN_TAG][name].flatten() for part in loaded] if first else []
        _fill(parameters[name], torch.cat(shards)[: shape.numel()] if first else None)
    _restore_buffers(module, loaded[0])


def _restore_buffers(module: nn.Module, saved: dict[str, Any]) -> None:
    buffers = dict(module.named_buffers())
    for name in saved.get(BUFFERS, []):
        if name in buffers:
            buffers[name].copy_(saved["module"][name])


def _rank_of(file: Path) -> int:
    found = re.search(r"zero_pp_rank_(\d+)_", file.name)
    return int(found[1]) if found else 0


def _fill(parameter: Any, whole: Tensor | None) -> None:
    """Copy a whole weight, which rank zero gives in any shape, into a parameter that ZeRO-3 has sharded."""
    import deepspeed

    with torch.no_grad(), deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
        if whole is not None:
            parameter.copy_(whole.view(parameter.shape))
