"""A shuffle of documents that need not fit in memory.

Documents are sorted by a hash of seed and key. Once more tokens have been added than memory should hold, they
move to files by the first bits of that hash; afterwards the files are sorted one by one, in order.
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
    """Takes documents in any order and gives them back in an order that depends on their keys and the seed only.

    To be used as a context, which owns the folder.
    """

    def __init__(self, folder: Path, seed: int, tokens_in_memory: int = TOKENS_IN_MEMORY) -> None:
        """Nothing is written before it has to be.

        Args:
            folder: for the files of a shuffle that is too large; removed on entry and on exit.
            seed: of the order.
            tokens_in_memory: how much to keep before writing files.
        """
        self.folder, self.key, self.tokens_in_memory = folder, derive(0, seed), tokens_in_memory
        self.num_documents = self.num_tokens = 0
        self._kept: list[Document] = []
        self._kept_tokens = 0

    def __enter__(self) -> Self:
        """Start without files: a killed shuffle has left its own."""
        self._remove_files()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the files."""
        self._remove_files()

    def add(self, document: Document) -> None:
        """Take one document."""
        self._kept.append(document)
        self._kept_tokens += document.num_tokens
        self.num_documents += 1
        self.num_tokens += document.num_tokens
        if self._kept_tokens > self.tokens_in_memory:
            self._spill()

    def __iter__(self) -> Iterator[Document]:
        """All documents in their order; nothing may be added any more."""
        if not self.folder.exists():
            yield from sorted(self._kept, key=self._place)
            return
        self._spill()
        for bucket in range(1 << BUCKET_BITS):
            yield from sorted(self._read(bucket), key=self._place)

    def blocks(self, block_tokens: int) -> Iterator[list[Document]]:
        """The documents in lists of about equal size, of about `block_tokens` at most."""
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
        """Move what is kept to the files of its buckets."""
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
