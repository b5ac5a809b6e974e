"""Files that are fetched in the background before they are needed."""

import logging
import os
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from spiritlm_pl.storage.cache import Content

logger = logging.getLogger(__name__)


class Ahead:
    """Thread that fetches files, in the order in which they will be needed; it ends when all are there.

    Of several readers, each has its turn with one file. A process that is forked has none, and starts its own.

    Args:
        fetch: fetches one file if it is not there.
    """

    def __init__(self, fetch: Callable[[Content], None]) -> None:
        """Store the function; the thread starts when something is wanted."""
        self._fetch = fetch
        self._process = -1

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process."""
        return {"_fetch": self._fetch, "_process": -1}

    def want(self, files: Sequence[Content], reader: Hashable) -> None:
        """Fetch these from now on, and no longer those that the same reader wanted before.

        Args:
            files: files that the reader needs next, in order.
            reader: key of the reader, such as the folder that it reads.
        """
        if self._process != os.getpid():
            self._lock, self._wanted, self._running = threading.Lock(), dict[Hashable, list[Content]](), False
            self._process = os.getpid()
        with self._lock:
            self._wanted[reader] = list(files)
            if not self._running:
                self._running = True
                threading.Thread(target=self._work, name="fetch ahead", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                file = self._next()
                if file is None:
                    self._running = False
                    return
            try:
                self._fetch(file)
            except Exception as error:  # who needs the file meets the same, and tells it
                logger.debug("%s was not fetched ahead: %s", file.url, error)

    def _next(self) -> Content | None:
        """Take a file of the reader whose turn it is, who is the last one then."""
        while self._wanted:
            reader = next(iter(self._wanted))
            files = self._wanted.pop(reader)
            if files:
                self._wanted[reader] = files[1:]
                return files[0]
        return None
