"""Objects below a folder of a store, and those that match a pattern, with their sizes and versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from spiritlm_pl.storage.connection import Connection

VERSIONS = ("ETag", "etag", "sha256", "blob_id", "md5Hash", "content_md5", "generation")  # as stores call them
TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")  # of stores that tell no version


@dataclass(frozen=True)
class Listed:
    """An object as a store lists it.

    Attributes:
        url: its address.
        bytes: its size in bytes.
        version: the store's mark of its contents, such as an ETag; the time of its last change where there is none.
    """

    url: str
    bytes: int
    version: str


def object_state(connection: Connection, url: str) -> Listed:
    """Return size and version of one object.

    Raises:
        FileNotFoundError: if there is no such object.
        OSError: if the store refuses it, or does not answer.
    """

    def ask() -> Listed:
        found = connection.files.info(url)
        if found["type"] != "file":
            raise FileNotFoundError(url)
        return _listed(url, found)

    return connection.retried(url, ask)


def objects_below(connection: Connection, url: str) -> list[Listed]:
    """Return the objects below a folder at any depth, in no order; none if there is no such folder.

    Raises:
        OSError: if there is no such bucket, the store refuses it, or does not answer.
    """

    def ask() -> list[Listed]:
        return _objects(connection, connection.files.find(url, detail=True))

    try:
        return [one for one in connection.retried(url, ask) if one.url.startswith(f"{url}/")]
    except FileNotFoundError:
        return []


def objects_matching(connection: Connection, pattern: str) -> tuple[list[Listed], list[str]]:
    """Return the objects that match a pattern with *, ?, [] or **, and the addresses of folders that do.

    Raises:
        OSError: if the pattern is wrong, there is no such bucket, the store refuses it, or does not answer.
    """

    def ask() -> tuple[list[Listed], list[str]]:
        found = connection.files.glob(pattern, detail=True)
        folders = [_url(connection, name) for name, state in found.items() if state["type"] == "directory"]
        return _objects(connection, found), folders

    try:
        return connection.retried(pattern, ask)
    except FileNotFoundError:
        return [], []


def _objects(connection: Connection, found: Mapping[str, Mapping[str, Any]]) -> list[Listed]:
    """Return the objects of a listing, without the marks that some tools leave for folders."""
    return [
        _listed(_url(connection, name), state)
        for name, state in found.items()
        if state.get("type") == "file" and not name.endswith("/")
    ]


def _url(connection: Connection, name: str) -> str:
    return f"{connection.protocol}://{name.strip('/')}"


def _listed(url: str, state: Mapping[str, Any]) -> Listed:
    """Take the size and the mark of an object from what a store tells of it.

    Raises:
        ValueError: if the store tells no size, or neither a version nor a time, so that a change would not be seen.
    """
    large: Any = state.get("lfs") or {}  # Hugging Face's, with a checksum of its own
    known = {**state, **(large if isinstance(large, Mapping) else {"sha256": getattr(large, "sha256", None)})}
    version = next((str(known[name]).strip('"') for name in VERSIONS if known.get(name)), None)
    if version is None:
        version = next((_time(known[name]) for name in TIMES if known.get(name)), None)
    if version is None or state.get("size") is None:
        raise ValueError("the store tells no size or no version of it, a change would not be seen: copy it to a disk")
    return Listed(url, int(state["size"]), version)


def _time(value: object) -> str:
    """Return a time as seconds, since some stores list it in another form than they tell it of one object."""
    return str(value.timestamp() if isinstance(value, datetime) else value)
