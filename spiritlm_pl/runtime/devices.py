"""Devices of this machine, and their capabilities. Commands that only count cores do not wait for torch."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CORES = "SPIRITLM_CORES"  # an environment variable, which worker processes inherit
THREADS = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")  # those of torch and numpy, and of tokenizers


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
    """Count the processor cores that this process may use.

    These are the cores that the system lets it run on (where it does not tell, all of the machine), no more than its
    control groups give it time of, as containers have it (`docker run --cpus`, limits of Kubernetes), and no more than
    the environment variable `SPIRITLM_CORES`.

    Raises:
        ValueError: if the variable is not a whole number above 0.
    """
    return min([_allowed(), *map(ceil, cpu_quotas()), *_wanted()])


@contextmanager
def limited_cores(cores: int | None) -> Iterator[None]:
    """Use at most so many cores inside, in this process and in those that it starts; None changes nothing.

    Numbers of threads that libraries read when they begin are lowered in the environment, for the processes that come.
    """
    before = {name: os.environ.get(name) for name in (CORES, *THREADS)}
    if cores is not None:
        os.environ[CORES] = str(cores)
        for name in THREADS:
            given = before[name] or ""
            os.environ[name] = str(min(cores, int(given)) if given.isdecimal() and int(given) else cores)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


def limit_threads() -> None:
    """Let libraries that have not begun yet compute with `num_cores()` threads, where they would count more cores.

    Values that are set already are left.
    """
    cores = num_cores()
    if cores < _allowed():
        for name in THREADS:
            os.environ.setdefault(name, str(cores))


def _allowed() -> int:
    allowed = getattr(os, "sched_getaffinity", None)  # missing on macOS and Windows
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def _wanted() -> list[int]:
    value = os.environ.get(CORES, "")
    if value and not (value.isascii() and value.isdigit() and int(value)):
        raise ValueError(f"{CORES} must be a whole number above 0, but is {value!r} instead")
    return [int(value)] if value else []


def cpu_quotas(root: Path = Path("/")) -> list[float]:
    """Return the limits of processor time, in cores, of the control groups that this process is in; none elsewhere.

    Both versions of Linux's control groups are read. In a container the groups that `/proc/self/cgroup` names may lie
    out of sight, and those of the container at the top.

    Args:
        root: folder that `proc` and `sys` are read below.
    """
    found = []
    for line in _lines(root / "proc" / "self" / "cgroup"):
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys" / "fs" / "cgroup" / ("cpu" if controllers else "")
        below = top / group.lstrip("/")
        for folder in dict.fromkeys((below, *below.parents, top)):
            if folder.is_relative_to(top):
                found += _quota(folder)
    return found


def _quota(folder: Path) -> list[float]:
    """Read the limit of one control group: microseconds of processor time in each period, or max or -1 for none."""
    both = [word for line in _lines(folder / "cpu.max") for word in line.split()]
    both = both or [line for name in ("quota", "period") for line in _lines(folder / f"cpu.cfs_{name}_us")]
    if len(both) != 2 or not all(word.isdigit() and int(word) for word in both):
        return []
    return [int(both[0]) / int(both[1])]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def cpu_has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; other processors emulate it, slower than float32.

    False where torch is too old to tell (before 2.12).
    """
    import torch

    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
