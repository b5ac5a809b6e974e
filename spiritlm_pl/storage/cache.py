"""Bounded folder of fetched files, shared by all processes of a machine.

A file is named by the SHA-256 of its content, so that whatever lies there under a name can be checked against it, and
the same content is kept once. Locks are those of the system on the files themselves (flock), which end with the
process, however it ends:

- who reads a file, or has it mapped, holds a shared lock on it, so that it is not removed;
- who fetches a file writes to NAME.part and holds an exclusive lock on it; others wait for it, and then find the whole
  file under its name;
- who makes room holds an exclusive lock on the file `lock`.

A process that is forked has copies of the open files, and so of their locks. An exclusive lock is therefore given back
by name, which ends it for all copies, and not by closing the file.
"""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import file_digest
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

from spiritlm_pl.storage.settings import CACHE, GIGABYTE

logger = logging.getLogger(__name__)

PART = ".part"
FULL_PATIENCE = 60.0  # seconds for which a cache is waited for that is full of files in use
POLL = 0.05  # seconds between two looks at what other processes do
ATTEMPTS = 3  # times that a file is damaged when it is opened, before the disk is at fault
UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)  # the user may not write here


@dataclass(frozen=True)
class Content:
    """An object and what it must hold.

    Attributes:
        url: address of the object.
        bytes: its size in bytes.
        sha256: checksum of its bytes, in hexadecimal.
    """

    url: str
    bytes: int
    sha256: str


Writer = Callable[[Content, BinaryIO], None]  # writes an object's bytes, checked, or raises


class ObjectCache:
    """Folder of fetched files.

    Args:
        folder: the folder, on a local disk; made when it is needed.
        max_bytes: size in bytes that all files together may have.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Store the settings; nothing is read yet."""
        self.folder, self.max_bytes = folder, max_bytes

    def open(self, content: Content, write: Writer) -> BinaryIO:
        """Return an open file with this content, which stays in the cache until the file and all maps of it are closed.

        Args:
            content: what to open.
            write: fetches it where it is not there.

        Raises:
            ValueError: if the cache is too small.
            OSError: if the folder cannot be written or gives back other bytes, or whatever `write` raises.
        """
        damaged = 0
        with self._explained():
            while damaged < ATTEMPTS:
                file = self._present(content)
                if file is None:
                    self._make(content, write, wait=True)
                elif self._is_whole(file, content):
                    return file
                else:
                    damaged += 1
                    self._discard(file, content)
        raise OSError(
            f"the disk of the storage cache must give back what is written to it, but {self.folder} had other bytes "
            f"for {content.url} {ATTEMPTS} times"
        )

    def fetch(self, content: Content, write: Writer) -> None:
        """Fetch a file that will be needed, unless it is there, another process fetches it, or there is no room."""
        with self._explained():
            if not self._path(content).exists():
                self._make(content, write, wait=False)

    def _path(self, content: Content) -> Path:
        return self.folder / content.sha256[:2] / content.sha256

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Tell of a folder that this user cannot write to, such as that of another user."""
        try:
            yield
        except OSError as error:
            if error.errno not in UNUSABLE or error.filename is None:  # such as a refusal of the store
                raise
            raise type(error)(
                f"the storage cache must be a folder of your own, but {self.folder} cannot be used: {error.filename}: "
                f"{error.strerror}; name another folder with {CACHE}"
            ) from None

    def _present(self, content: Content) -> BufferedReader | None:
        """Open and lock a file of the cache, which need not be whole; return None if there is none."""
        try:
            file = self._path(content).open("rb")
        except FileNotFoundError:
            return None
        _lock(file, fcntl.LOCK_SH, self.folder)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # it was removed after it was opened
        return None

    def _is_whole(self, file: BufferedReader, content: Content) -> bool:
        """Whether a file has the content; if so, it is now the one that was used last."""
        size = os.fstat(file.fileno()).st_size
        if size != content.bytes or file_digest(cast(Any, file), "sha256").hexdigest() != content.sha256:
            return False
        file.seek(0)
        with suppress(OSError):  # of another user
            os.utime(self._path(content), ns=(time.time_ns(),) * 2)  # finer than the system's own time
        return True

    def _discard(self, file: BinaryIO, content: Content) -> None:
        """Remove a damaged file, unless another process has put a new one in its place."""
        path = self._path(content)
        logger.warning("%s was damaged in the cache (%s) and is fetched again", content.url, path)
        with file:
            if _is(file, path):
                path.unlink(missing_ok=True)

    def _make(self, content: Content, write: Writer, wait: bool) -> None:
        """Fetch a file; return without it where another process has fetched it, or does and is not waited for."""
        path = self._path(content)
        part = path.with_name(path.name + PART)
        part.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            while not _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB, self.folder):
                if not wait or not _is(file, part):
                    return
                time.sleep(POLL)  # a lock that is waited for would be that of the whole file, which readers keep
            with _unlocked(file):
                if not _is(file, part):  # another one has fetched it, or given up
                    return
                try:
                    file.truncate(0)
                    if not path.exists() and self._reserve(content, file, wait):
                        write(content, file)
                        file.flush()
                        part.rename(path)
                finally:
                    if _is(file, part):
                        part.unlink()

    def _reserve(self, content: Content, file: BinaryIO, wait: bool) -> bool:
        """Make room for a file on the disk; without waiting, return whether there was room."""
        if content.bytes > self.max_bytes:
            if not wait:
                return False
            raise ValueError(
                f"gigabytes of the storage cache must be at least {_gigabytes(content.bytes)} for {content.url}, but "
                f"are {_gigabytes(self.max_bytes)}"
            )
        until = time.monotonic() + (FULL_PATIENCE if wait else 0)
        while True:
            with self._only_one():
                lacking = self._used() + content.bytes - self.max_bytes
                if self._freed(lacking) and self._allocated(content, file):
                    return True
            if not wait:
                return False
            if time.monotonic() > until:
                raise ValueError(
                    f"gigabytes of the storage cache {self.folder} must have room for all files in use, and for "
                    f"{content.url} of {_gigabytes(content.bytes)}, but are {_gigabytes(self.max_bytes)}"
                )
            time.sleep(POLL)

    def _allocated(self, content: Content, file: BinaryIO) -> bool:
        """Take room on the disk, where other files are in the way of those of the cache, too."""
        while True:
            try:
                if content.bytes:
                    os.posix_fallocate(file.fileno(), 0, content.bytes)
                return True
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                file.truncate(0)
                if not self._freed(content.bytes):
                    raise OSError(
                        errno.ENOSPC,
                        f"the disk of the storage cache must have room for {content.url} of "
                        f"{_gigabytes(content.bytes)}, but is full",
                        str(self.folder),
                    ) from None

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        with os.fdopen(os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            _lock(file, fcntl.LOCK_EX, self.folder)
            with _unlocked(file):
                yield

    def _entries(self) -> Iterator[tuple[int, int, Path]]:
        """Yield time of the last use in ns, size in bytes and path of all files."""
        for folder in self.folder.iterdir():
            if len(folder.name) == 2:
                for entry in os.scandir(folder):
                    with suppress(FileNotFoundError):
                        state = entry.stat()
                        yield state.st_mtime_ns, state.st_size, Path(entry.path)

    def _used(self) -> int:
        return sum(size for _, size, _ in self._entries())

    def _freed(self, lacking: int) -> bool:
        """Remove files that nobody uses, the one of the longest ago first; return whether as much could be freed."""
        if lacking <= 0:
            return True
        for _, size, path in sorted(self._entries()):
            if lacking > 0 and _removed(path):
                lacking -= size
        return lacking <= 0


def _removed(path: Path) -> bool:
    """Remove a file unless somebody reads or writes it; return whether it is gone."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with _unlocked(file):
                if _is(file, path):
                    path.unlink()
    except (BlockingIOError, PermissionError):  # in use, or of another user
        return False
    except FileNotFoundError:
        pass
    return True


def _is(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is the one that has this path now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _unlocked(file: BinaryIO) -> Iterator[None]:
    """Unlock a file at the end, also for processes that were forked meanwhile and have it open."""
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _lock(file: BinaryIO, kind: int, folder: Path) -> bool:
    """Lock a file; return False if it must not be waited for and another process has it."""
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    except OSError as error:
        raise OSError(
            f"the storage cache must be on a disk whose files can be locked, such as a local one, but {folder} is not: "
            f"{error.strerror}"
        ) from None
    return True


def _gigabytes(size: int) -> str:
    return f"{size / GIGABYTE:.4g} GB"
