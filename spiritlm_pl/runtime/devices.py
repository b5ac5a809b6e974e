"""Which devices are here, and what they can do."""

from collections.abc import Mapping
from typing import Any

import torch


def check_device(device: str | torch.device) -> torch.device:
    """The device of a name.

    Raises:
        ValueError: if there is no such device, or it cannot be used.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"device must be one that is here, but is {str(device)!r} instead ({reason})") from error
    return torch.device(device)


def cpu_has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; others emulate it, slower than float32.

    False where torch is too old to say (before 2.12).
    """
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
