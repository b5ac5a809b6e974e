"""Paths of a disk or of object storage: `place` gives either, and code that needs few of a path's methods takes both.

place("data/blocks")             a `Path`; nothing else of this package is used
place("s3://bucket/blocks")      a `RemotePath`: manifests are read from the store, and files of which a manifest
                                 has the checksum are fetched to the cache
"""

import re
from pathlib import Path
from typing import TypeAlias

from spiritlm_pl.storage.remote import RemotePath, Store
from spiritlm_pl.storage.settings import StorageSettings

Place: TypeAlias = Path | RemotePath
URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):(//|/)(?=[^/])")  # of two slashes a `Path` keeps one


def is_url(name: object) -> bool:
    """Whether this is an address of object storage, and not the path of a local file."""
    return URL.match(str(name)) is not None


def place(name: str | Place, settings: StorageSettings | None = None) -> Place:
    """Return the path of a local file or folder, or that of an object or folder in a store.

    Args:
        name: local path, or address such as `s3://bucket/folder`.
        settings: settings for object storage; None takes those of the environment.

    Raises:
        ValueError: if the protocol of an address is not known.
        ModuleNotFoundError: if the package for it is not installed.
    """
    if isinstance(name, Path | str):
        found = URL.match(str(name))
        if found is None:
            return Path(str(name).removeprefix("file://"))
        protocol, rest = found[1].lower(), str(name)[found.end() :]
        url = f"{protocol}://{rest.rstrip('/')}"
        return RemotePath(url, Store(url, settings or StorageSettings()))
    return name


def local_place(name: str | Path, argument: str) -> Path:
    """Return the path of a local folder to write to.

    Args:
        name: path of the folder.
        argument: name of the argument, for the message.

    Raises:
        ValueError: if it is an address of object storage.
    """
    if is_url(name):
        raise ValueError(f"{argument} must be a local folder, but is {name} instead; write there and upload it")
    return Path(name)
