"""Connection to an object store through fsspec: sizes and bytes of its objects, asked for again when the store is away.

Every process has file systems of its own, since their event loops do not survive a fork. A forked process must not even
close those of its parent: both have one epoll object, so that the parent would no longer hear of answers.
"""

import logging
import os
import random
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import fsspec

from spiritlm_pl.storage.messages import bucket_of, missing_package, protocol_of, reason_of, unknown_protocol

T = TypeVar("T")
logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 20.0  # seconds between two attempts; doubled each time, and drawn within a half of it
TELL_AGAIN = 30.0  # seconds between two messages about a store that does not answer
S3_OPTIONS = {
    "connect_timeout": 10,
    "read_timeout": 30,
    "retries": {"total_max_attempts": 1},
    "response_checksum_validation": "when_required",  # SHA-256 is compared anyway
}
NEVER_BETTER = (NotImplementedError, ImportError, TypeError, ValueError, AttributeError, MemoryError)
_alive: WeakValueDictionary[int, Any] = WeakValueDictionary()  # file systems by `id`
_of_parent: list[Any] = []  # file systems that are never closed here
os.register_at_fork(after_in_child=lambda: _of_parent.extend(_alive.values()))
NO_BUCKET = "bucket does not exist"  # as S3 and GCS say it
REFUSED = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError", "GatedRepoError")


class Connection:
    """Connection to the store of a protocol, opened at its first use in each process.

    Args:
        url: address of a folder or object in the store.
        patience: time in seconds for which a store that does not answer is asked again.

    Raises:
        ValueError: if the protocol is not known.
        ModuleNotFoundError: if the package for the protocol is not installed; names what to install.
    """

    def __init__(self, url: str, patience: float) -> None:
        """Find the package for the protocol; nothing is connected yet."""
        self.protocol = protocol_of(url)
        self.patience = patience
        self._files: tuple[int, Any] | None = None
        try:
            fsspec.get_filesystem_class(self.protocol)
        except ImportError as error:
            raise missing_package(url, error) from None
        except ValueError:
            raise unknown_protocol(url) from None

    def __reduce__(self) -> tuple[Callable[..., "Connection"], tuple[str, float]]:
        """Return how another process makes it, which connects by itself, and once for all that it is given."""
        return shared_connection, (f"{self.protocol}://", self.patience)

    @property
    def files(self) -> Any:
        """File system of this process."""
        if self._files is None or self._files[0] != os.getpid():
            options = _s3_options() if self.protocol in ("s3", "s3a") else {}
            made = fsspec.filesystem(self.protocol, skip_instance_cache=True, use_listings_cache=False, **options)
            made.retries = 1  # of s3fs; the others do not look at it
            _alive[id(made)] = made
            self._files = os.getpid(), made
        return self._files[1]

    def size(self, url: str) -> int:
        """Return the size of an object in bytes.

        Raises:
            FileNotFoundError: if there is no such object.
            OSError: if there is no such bucket, the store refuses it, or does not answer.
        """

        def ask() -> int:
            found = self.files.info(url)
            if found["type"] != "file":
                raise FileNotFoundError(url)
            return int(found["size"])

        return self.retried(url, ask)

    def read(self, url: str, begin: int, end: int) -> bytes:
        """Return bytes [begin, end) of an object, which must have that many.

        Raises:
            FileNotFoundError: if there is no such object.
            OSError: if the store refuses it, does not answer, or cuts it off each time.
        """

        def ask() -> bytes:
            found: bytes = self.files.cat_file(url, start=begin, end=end)
            if len(found) != end - begin:
                raise ConnectionError(f"only {len(found)} of {end - begin} bytes came")
            return found

        return self.retried(url, ask) if end > begin else b""

    def retried(self, url: str, ask: Callable[[], T]) -> T:
        """Return what `ask` returns, calling it again as long as the store fails and patience lasts."""
        began = told = time.monotonic()
        pause = FIRST_PAUSE
        while True:
            try:
                return ask()
            except FileNotFoundError as error:
                if NO_BUCKET in str(error):  # no FileNotFoundError: whoever looks for a file must not take it for one
                    raise OSError(f"{bucket_of(url)} must be a bucket of the store, but does not exist") from None
                raise FileNotFoundError(f"{url} must exist, but does not") from None
            except Exception as error:
                if isinstance(error, PermissionError) or type(error).__name__ in REFUSED:
                    raise PermissionError(
                        f"{url} must be readable, but the store refuses it: {reason_of(error)} (some stores say so of "
                        "missing objects, too)"
                    ) from None
                if isinstance(error, NEVER_BETTER):
                    raise OSError(f"{url} must be readable, but is not: {reason_of(error)}") from error
                now = time.monotonic()
                if now + pause - began > self.patience:
                    raise OSError(
                        f"{url} must come within {self.patience:g} s, but did not: {reason_of(error)}"
                    ) from error
                if pause == FIRST_PAUSE or now - told > TELL_AGAIN:
                    told = now
                    logger.warning("%s is asked for again, for at most %g s: %s", url, self.patience, reason_of(error))
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE)


@lru_cache
def shared_connection(url: str, patience: float) -> Connection:
    """Return the one connection of this process that others' connections have become here."""
    return Connection(url, patience)


def _s3_options() -> dict[str, Any]:
    """Return options with which requests fail soon, since they are repeated here; the user's own settings win."""
    own = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    return {"config_kwargs": {**S3_OPTIONS, **own}}
