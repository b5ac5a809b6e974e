"""Which devices are here."""

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
