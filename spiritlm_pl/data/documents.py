"""Documents as tables: words with their text tokens and their speech tokens.

A text-only or speech-only document is one "word" whose other side is empty, so every stream is one table.
What speech tokens are (units alone, or units merged with pitch and style) makes no difference here: they
are ids.

Shapes: D documents, W words, N tokens (all text tokens first, then all speech tokens).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spiritlm_pl.data.rng import Keys

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WordIds:
    """The tokens of one word in both modalities."""

    text: Sequence[int]
    speech: Sequence[int]


@dataclass(frozen=True)
class Document:
    """One document to be written into blocks.

    Attributes:
        key: 64 bits that name it (`rng.name_key` of its id); its random draws hang on it.
        words: its words, at least one token among them.
    """

    key: int
    words: Sequence[WordIds]

    @property
    def num_tokens(self) -> int:
        """Text and speech tokens together."""
        return sum(len(word.text) + len(word.speech) for word in self.words)


@dataclass(frozen=True, eq=False)
class Documents:
    """A table of documents, as stored in one block.

    Attributes:
        tokens: (N,) unsigned ids, text tokens of all words first, then speech tokens of all words.
        text_counts: (W,) text tokens of each word.
        speech_counts: (W,) speech tokens of each word.
        word_counts: (D,) words of each document.
        keys: (D,) uint64 names of the documents.
    """

    tokens: npt.NDArray[np.unsignedinteger]
    text_counts: npt.NDArray[np.unsignedinteger]
    speech_counts: npt.NDArray[np.unsignedinteger]
    word_counts: npt.NDArray[np.unsignedinteger]
    keys: Keys

    @classmethod
    def from_documents(cls, documents: Sequence[Document], dtype: npt.DTypeLike = np.uint32) -> "Documents":
        """The table of a list of documents, ids stored as `dtype`."""
        words = [word for document in documents for word in document.words]
        ids = [token for word in words for token in word.text]
        ids += [token for word in words for token in word.speech]
        return cls(
            tokens=np.array(ids, dtype=dtype),
            text_counts=np.array([len(word.text) for word in words], dtype=np.uint32),
            speech_counts=np.array([len(word.speech) for word in words], dtype=np.uint32),
            word_counts=np.array([len(document.words) for document in documents], dtype=np.uint32),
            keys=np.array([document.key for document in documents], dtype=np.uint64),
        )

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.word_counts)

    @cached_property
    def word_bounds(self) -> Integers:
        """(D + 1,) first word of each document, and the end."""
        return bounds(self.word_counts)

    @cached_property
    def text_bounds(self) -> Integers:
        """(W + 1,) where the text of each word starts in `tokens`, and the end."""
        return bounds(self.text_counts)

    @cached_property
    def speech_bounds(self) -> Integers:
        """(W + 1,) where the speech of each word starts in `tokens`, and the end."""
        return bounds(self.speech_counts) + self.text_bounds[-1]


def bounds(counts: npt.NDArray[np.unsignedinteger] | Integers) -> Integers:
    """(n,) counts to (n + 1,) int64 bounds, from 0."""
    result = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=result[1:], dtype=np.int64)
    return result
