"""Objects that are read as a file is, in ranges, and not kept in the cache: for long files that are read once."""

import errno
import io
from typing import Any

from spiritlm_pl.storage.connection import Connection

FIRST, LONGEST = 1 << 17, 1 << 23  # bytes of a range: the first one after a jump, and the largest
GROWTH = 4


class ObjectReader(io.RawIOBase):
    """Open object of a store; ranges grow as long as they follow each other.

    Args:
        connection: connection to the store.
        url: address of the object.
        size: its size in bytes.
    """

    def __init__(self, connection: Connection, url: str, size: int) -> None:
        """Store the arguments; nothing is asked for yet."""
        super().__init__()
        self._connection, self._url, self._size = connection, url, size
        self._place = self._begin = 0
        self._data = b""
        self._length = FIRST // GROWTH

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; return it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer; return how many, 0 at the end.

        Raises:
            OSError: if the store refuses them, does not answer, or the object is gone or shorter than it was. Its
                `errno` is set, which tells it from damage of what the object holds.
        """
        wanted = len(buffer)
        if not wanted or self._place >= self._size:
            return 0
        if not self._begin <= self._place < self._begin + len(self._data):
            self._fetch(wanted)
        start = self._place - self._begin
        part = self._data[start : start + wanted]
        buffer[: len(part)] = part
        self._place += len(part)
        return len(part)

    def _fetch(self, wanted: int) -> None:
        follows = self._place == self._begin + len(self._data)
        self._length = min(LONGEST, self._length * GROWTH) if follows else FIRST
        end = min(self._size, self._place + max(self._length, min(wanted, LONGEST)))
        try:
            self._data = self._connection.read(self._url, self._place, end)
        except OSError as error:
            error.errno = error.errno or errno.EIO
            raise
        self._begin = self._place
