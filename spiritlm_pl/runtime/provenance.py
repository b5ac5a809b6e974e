"""Provenance of files (code version and content hashes), and writing that never leaves incomplete files."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from spiritlm_pl import __version__
from spiritlm_pl.runtime.left_over import full_disk_named, temporary_path


@cache
def code_version() -> str:
    """Return the version of the package, in a git checkout with the commit (`+dirty` if files were changed)."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return __version__
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+dirty"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+g{described}"


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic_path(path: Path, synced: bool = True) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to `path` if no error occurs.

    After an error (a full disk, an interrupt), the previous `path` is unchanged and no incomplete file remains.

    Args:
        path: path of the file.
        synced: whether to wait until the disk has it, so that it is whole even after a power failure; that is slow for
            many small files, and needless for what is checked before it is used.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with full_disk_named(path):
            temporary.touch()
            mode = temporary.stat().st_mode  # follows the user's umask, which some writers ignore
            yield temporary
            temporary.chmod(mode)
            if synced:
                with temporary.open("rb") as stream:
                    os.fsync(stream.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
