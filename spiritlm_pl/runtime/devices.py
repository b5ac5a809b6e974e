"""Devices of this machine, and their capabilities. Commands that only count cores do not wait for torch."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def check_device(device: "str | torch.device") -> "torch.device":
    """Return the torch device of a name, after trying it.

    Raises:
        ValueError: if there is no such device, or it cannot be used.
    """
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"device must be available on this machine, but is {str(device)!r} instead ({reason})"
        ) from error
    return torch.device(device)


def num_cores() -> int:
    """Count the processor cores that this process may use, or where the system does not tell, those of the machine.

    Linux tells which cores a process may use; macOS and Windows do not.
    """
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def cpu_has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; other processors emulate it, slower than float32.

    False where torch is too old to tell (before 2.12).
    """
    import torch

    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
