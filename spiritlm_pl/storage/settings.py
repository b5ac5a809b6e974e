"""Settings for files of object storage: options of a training, or environment variables for all commands."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from spiritlm_pl.storage.user_cache import user_cache

CACHE, GIGABYTES = "SPIRITLM_STORAGE_CACHE", "SPIRITLM_STORAGE_GIGABYTES"
AHEAD, RETRY_SECONDS = "SPIRITLM_STORAGE_AHEAD", "SPIRITLM_STORAGE_RETRY_SECONDS"
GIGABYTE = 10**9


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Settings for files that are read from object storage; those of a disk do not need them.

    Args:
        cache: folder on a local disk where fetched files are kept, shared by all processes of the machine. None takes
            the environment variable SPIRITLM_STORAGE_CACHE, or else `spiritlm-pl/objects` in the user's cache folder.
        gigabytes: size of that folder in GB (10^9 bytes); the files that were not used for the longest time make room
            for others. None takes SPIRITLM_STORAGE_GIGABYTES, or else 64.
        ahead: number of files of each data stream that are fetched before they are needed. None takes
            SPIRITLM_STORAGE_AHEAD, or else 2.
        retry_seconds: time in seconds for which a store that does not answer is asked again. None takes
            SPIRITLM_STORAGE_RETRY_SECONDS, or else 300.
    """

    cache: str | None = None
    gigabytes: float | None = None
    ahead: int | None = None
    retry_seconds: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.max_bytes > 0:
            raise ValueError(f"gigabytes of the storage cache must be above 0, but are {self.max_bytes / GIGABYTE:g}")
        if self.num_ahead < 0:
            raise ValueError(f"ahead of the storage must be at least 0, but is {self.num_ahead} instead")
        if not 0 <= self.patience < math.inf:
            raise ValueError(f"retry_seconds of the storage must be at least 0, but are {self.patience:g} instead")

    @property
    def folder(self) -> Path:
        """Folder of the fetched files."""
        named = self.cache or os.environ.get(CACHE)
        if named:
            return Path(named).expanduser()
        return user_cache("objects")

    @property
    def max_bytes(self) -> int:
        """Size in bytes that all fetched files together may have."""
        gigabytes = _number(GIGABYTES, 64.0) if self.gigabytes is None else self.gigabytes
        return int(min(gigabytes, 1e9) * GIGABYTE) if gigabytes > 0 else 0  # not a number is not above 0

    @property
    def num_ahead(self) -> int:
        """Number of files that are fetched ahead."""
        return int(_number(AHEAD, 2)) if self.ahead is None else self.ahead

    @property
    def patience(self) -> float:
        """Time in seconds for which a store that does not answer is asked again."""
        return _number(RETRY_SECONDS, 300.0) if self.retry_seconds is None else self.retry_seconds


def _number(variable: str, default: float) -> float:
    value = os.environ.get(variable)
    try:
        return float(value) if value else default
    except ValueError:
        raise ValueError(f"the environment variable {variable} must be a number, but is {value!r} instead") from None
