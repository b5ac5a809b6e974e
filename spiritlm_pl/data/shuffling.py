"""Shuffling of documents that need not fit in memory.

Documents are sorted by a hash of seed and key. Once more tokens have been added than memory should hold, they are moved
to files by the first bits of that hash. Afterwards the files are sorted one by one, in order.
"""

import pickle
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from spiritlm_pl.data.documents import Document
from spiritlm_pl.data.rng import derive

BUCKET_BITS = 8
TOKENS_IN_MEMORY = 1 << 23


class Shuffler:
    """Collector of documents that returns them in an order that depends on their keys and the seed only.

    It is used as a context, which owns the folder.
    """

    def __init__(self, folder: Path, seed: int, tokens_in_memory: int = TOKENS_IN_MEMORY) -> None:
        """Store the settings; nothing is written before it is necessary.

        Args:
            folder: folder for the files of a shuffle that exceeds memory; removed on entry and on exit.
            seed: seed of the order.
            tokens_in_memory: number of tokens to keep in memory before files are written.
        """
        self.folder, self.key, self.tokens_in_memory = folder, derive(0, seed), tokens_in_memory
        self.num_documents = self.num_tokens = 0
        self._kept: list[Document] = []
        self._kept_tokens = 0

    def __enter__(self) -> Self:
        """Remove the files that an earlier, killed shuffle may have left."""
        self._remove_files()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the files."""
        self._remove_files()

    def add(self, document: Document) -> None:
        """Add one document."""
        self._kept.append(document)
        self._kept_tokens += document.num_tokens
        self.num_documents += 1
        self.num_tokens += document.num_tokens
        if self._kept_tokens > self.tokens_in_memory:
            self._spill()

    def __iter__(self) -> Iterator[Document]:
        """Yield all documents in their order; none may be added after that."""
        if not self.folder.exists():
            yield from sorted(self._kept, key=self._place)
            return
        self._spill()
        for bucket in range(1 << BUCKET_BITS):
            yield from sorted(self._read(bucket), key=self._place)

    def blocks(self, block_tokens: int) -> Iterator[list[Document]]:
        """Yield the documents in lists of about equal size, of about `block_tokens` tokens at most."""
        number = max(1, -(-self.num_tokens // block_tokens))
        documents, done = iter(self), 0
        for block in range(1, number + 1):
            part: list[Document] = []
            while done * number < self.num_tokens * block and (following := next(documents, None)) is not None:
                part.append(following)
                done += following.num_tokens
            if part:
                yield part
        assert not list(islice(documents, 1))

    def _remove_files(self) -> None:
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _place(self, document: Document) -> tuple[int, int]:
        return derive(self.key, document.key), document.key

    def _path(self, bucket: int) -> Path:
        return self.folder / f"{bucket:03d}"

    def _spill(self) -> None:
        """Move the documents in memory to the files of their buckets."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buckets: dict[int, list[Document]] = {}
        for document in self._kept:
            buckets.setdefault(self._place(document)[0] >> (64 - BUCKET_BITS), []).append(document)
        for bucket, documents in buckets.items():
            with self._path(bucket).open("ab") as stream:
                pickle.dump(documents, stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._kept, self._kept_tokens = [], 0

    def _read(self, bucket: int) -> Iterator[Document]:
        path = self._path(bucket)
        if not path.exists():
            return
        size = path.stat().st_size
        with path.open("rb") as stream:
            while stream.tell() < size:
                yield from pickle.load(stream)
