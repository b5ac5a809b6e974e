"""Paths in object storage, with those methods of `pathlib.Path` that readers of manifests need."""

from collections.abc import Hashable, Sequence
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from spiritlm_pl.storage.ahead import Ahead
from spiritlm_pl.storage.cache import Content, ObjectCache
from spiritlm_pl.storage.connection import Connection
from spiritlm_pl.storage.listing import Listed, object_state, objects_below, objects_matching
from spiritlm_pl.storage.reader import ObjectReader
from spiritlm_pl.storage.settings import StorageSettings

CHUNK = 1 << 24  # bytes of one request
ATTEMPTS = 3  # times that an object with wrong bytes is fetched, before they are taken for what the store has
PATIENCE_AHEAD = 20.0  # seconds; a store that is away for longer is the matter of who needs the file


class Store:
    """Connection, cache and fetching ahead of one folder in object storage.

    Args:
        url: address of the folder.
        settings: settings for object storage.
    """

    def __init__(self, url: str, settings: StorageSettings) -> None:
        """Store the settings; nothing is connected yet."""
        self.connection = Connection(url, settings.patience)
        self.cache = ObjectCache(settings.folder, settings.max_bytes)
        self.num_ahead = settings.num_ahead
        self._hurried = Connection(url, min(settings.patience, PATIENCE_AHEAD))
        self._ahead = Ahead(self._fetch)

    def open(self, content: Content) -> BinaryIO:
        """Return an open local file with this content; see `ObjectCache.open`."""
        return self.cache.open(content, self._write)

    def want(self, contents: Sequence[Content], reader: Hashable) -> None:
        """Fetch the first of these in the background, as many as the settings say; see `Ahead.want`."""
        self._ahead.want(contents[: self.num_ahead], reader)

    def _write(self, content: Content, file: BinaryIO) -> None:
        download(self.connection, content, file)

    def _fetch(self, content: Content) -> None:
        self.cache.fetch(content, lambda wanted, file: download(self._hurried, wanted, file))


class RemotePath:
    """Path of an object or folder in a store.

    Args:
        url: its address.
        store: connection, cache and fetching ahead, common to all paths below a folder.
    """

    def __init__(self, url: str, store: Store) -> None:
        """Store the address."""
        self.url, self.store = url, store

    def __truediv__(self, name: str) -> "RemotePath":
        """Return the path of a name below this one."""
        return RemotePath(f"{self.url}/{name}", self.store)

    def __str__(self) -> str:
        """Return the address."""
        return self.url

    def __repr__(self) -> str:
        """Return the address as an expression."""
        return f"RemotePath({self.url!r})"

    def __eq__(self, other: Any) -> bool:
        """Whether this is the same address."""
        return isinstance(other, RemotePath) and other.url == self.url

    def __hash__(self) -> int:
        """Return the hash of the address."""
        return hash(self.url)

    @property
    def name(self) -> str:
        """Last part of the address."""
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """Ending of the name, such as .txt."""
        return PurePosixPath(self.name).suffix

    @property
    def parts(self) -> tuple[str, ...]:
        """Bucket and names of the address."""
        protocol, _, rest = self.url.partition("://")
        first, *others = rest.split("/")
        return f"{protocol}://{first}", *others

    @property
    def parent(self) -> "RemotePath":
        """Folder of this path."""
        return RemotePath(self.url.rpartition("/")[0], self.store)

    def is_file(self) -> bool:
        """Whether there is an object.

        Raises:
            OSError: if the store refuses to tell, or does not answer.
        """
        try:
            self.store.connection.size(self.url)
        except FileNotFoundError:
            return False
        return True

    def read_bytes(self) -> bytes:
        """Return the bytes of an object, which is not kept in the cache.

        Raises:
            OSError: if it is missing, the store refuses it, or does not answer.
        """
        connection = self.store.connection
        size = connection.size(self.url)
        return b"".join(connection.read(self.url, begin, min(begin + CHUNK, size)) for begin in range(0, size, CHUNK))

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the text of an object, which is not kept in the cache."""
        return self.read_bytes().decode(encoding)

    def state(self) -> Listed:
        """Return size and version of the object; see `object_state`."""
        return object_state(self.store.connection, self.url)

    def below(self) -> list[Listed]:
        """Return the objects below this folder; see `objects_below`."""
        return objects_below(self.store.connection, self.url)

    def matches(self) -> tuple[list[Listed], list[str]]:
        """Return the objects and folders that match this path as a pattern; see `objects_matching`."""
        return objects_matching(self.store.connection, self.url)

    def open_unchecked(self, size: int) -> ObjectReader:
        """Return the object as a file that is read from the store as it goes, for one of which no checksum is known.

        Args:
            size: its size in bytes.
        """
        return ObjectReader(self.store.connection, self.url, size)

    def content(self, size: int, checksum: str) -> Content:
        """Return the description of the object with what a manifest says of it.

        Args:
            size: its size in bytes.
            checksum: its SHA-256, in hexadecimal.
        """
        return Content(self.url, size, checksum)

    def open_checked(self, size: int, checksum: str) -> BinaryIO:
        """Return an open local file with the object's bytes, which are those of the checksum.

        It stays in the cache at least until the file, and all memory maps that were made of it, are closed.

        Args:
            size: size of the object in bytes.
            checksum: its SHA-256, in hexadecimal.

        Raises:
            ValueError: if size or checksum of the object is another one, or the cache is too small.
            OSError: if it is missing, the store refuses it or does not answer, or the cache cannot be written.
        """
        return self.store.open(self.content(size, checksum))


def download(connection: Connection, content: Content, file: BinaryIO) -> None:
    """Write the bytes of an object to a file, and check them.

    Args:
        connection: connection to the store.
        content: object, with its size and checksum.
        file: file to write to, from its beginning.

    Raises:
        ValueError: if size or checksum is another one.
        OSError: if the object is missing, the store refuses it, or does not answer.
    """
    size = connection.size(content.url)
    if size != content.bytes:
        raise ValueError(f"{content.url} must have {content.bytes} bytes, but has {size} instead; upload it again")
    for _ in range(ATTEMPTS):
        file.seek(0)
        digest = sha256()
        for begin in range(0, size, CHUNK):
            data = connection.read(content.url, begin, min(begin + CHUNK, size))
            digest.update(data)
            file.write(data)
        if digest.hexdigest() == content.sha256:
            return
    raise ValueError(
        f"{content.url} must have SHA-256 {content.sha256}, but has {digest.hexdigest()} instead; upload it again"
    )
