"""Hidden names of what is being written, and removal of what killed processes have left under such names.

A name tells the machine and the process that writes, as in `.model.1f3870be-4711.tmp`, so that nothing is removed that
a process still writes. Of other machines and containers, whose processes cannot be seen from here, nothing is removed.
A machine that was started anew counts as another one, since a container may bear its name.
"""

import errno
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

ENDING = ".tmp"
BOOT, NAMESPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
NAME = re.compile(rf"\.(?P<name>.+)\.(?P<machine>[0-9a-f]{{8}})-(?P<process>[0-9]+)(\.[^.]+)?{re.escape(ENDING)}")


def temporary_path(path: Path) -> Path:
    """Return the hidden path, in the same folder, under which this process writes a file before it has its name."""
    return path.with_name(f".{path.name}.{this_machine()}-{os.getpid()}{ENDING}")


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Say which file or folder could not be written where the disk is full; libraries raise errors of many types.

    Raises:
        OSError: with the path, if an error of the block tells that no space is left.
    """
    try:
        yield
    except Exception as error:
        for number in (errno.ENOSPC, errno.EDQUOT):
            if os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number), str(path)) from error
        raise


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Give a hidden folder beside a path, for what will have this path, and remove it at the end.

    Those of killed processes are removed, too. Folders above it that are missing are created; they stay if they hold
    anything at the end.
    """
    above = [one for one in (path.parent, *path.parent.parents) if not one.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_over(path.parent, path.name)
    prefix = f".{path.name}.{this_machine()}-{os.getpid()}."
    try:
        with full_disk_named(path), TemporaryDirectory(dir=path.parent, prefix=prefix, suffix=ENDING) as folder:
            yield Path(folder)
    finally:
        with suppress(OSError):  # one that holds something stays, and those above it
            for one in above:
                one.rmdir()


def remove_left_over(folder: Path, name: str | None = None) -> None:
    """Remove hidden files and folders that processes of this machine wrote which have ended.

    Args:
        folder: folder to look in, not below it.
        name: name that they were to have; None for any.
    """
    for other in os.listdir(folder) if folder.is_dir() else ():  # a pattern takes long where there is much else
        found = NAME.fullmatch(other) if other.endswith(ENDING) else None
        if found is None or found["machine"] != this_machine() or name not in (None, found["name"]):
            continue
        if not process_runs(int(found["process"])):
            path = folder / other
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def this_machine() -> str:
    """Return what tells the processes that can be seen from here: host name, start of the system and PID namespace."""
    parts = [platform.node()]
    with suppress(OSError):  # other systems than Linux have neither
        parts += [BOOT.read_text(encoding="ascii").strip(), str(NAMESPACE.stat().st_ino)]
    return sha256("\n".join(parts).encode()).hexdigest()[:8]


def process_runs(process: int) -> bool:
    """Whether a process of this machine runs; where this cannot be asked, it may."""
    if os.name != "posix":  # where the question would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
