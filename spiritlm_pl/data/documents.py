"""Documents as tables of words with their text tokens and speech tokens.

A text-only or speech-only document is one "word" whose other side is empty, so that every stream is one table. Speech
tokens are ids, whether they are units alone, units merged with pitch and style, or the codes of a neural codec frame by
frame.

Shapes: D documents, W words, N tokens (all text tokens first, then all speech tokens).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spiritlm_pl.data.rng import Keys
from spiritlm_pl.runtime.ragged import ragged_take

Integers = npt.NDArray[np.int64]
COUNTS = ("text_counts", "speech_counts", "word_counts", "keys")  # arrays of a table beside the tokens


@dataclass(frozen=True)
class WordIds:
    """Tokens of one word in both modalities.

    Attributes:
        text: ids of the text tokens; empty in a speech-only document.
        speech: ids of the speech tokens; empty in a text-only document.
    """

    text: Sequence[int]
    speech: Sequence[int]


@dataclass(frozen=True)
class Document:
    """Document before it is written into a block.

    Attributes:
        key: 64-bit name of the document (`rng.name_key` of its id), on which its random choices depend.
        words: words of the document, with at least one token among them.
    """

    key: int
    words: Sequence[WordIds]

    @property
    def num_tokens(self) -> int:
        """Number of text and speech tokens together."""
        return sum(len(word.text) + len(word.speech) for word in self.words)


@dataclass(frozen=True, eq=False)
class Documents:
    """Table of documents, as it is stored in a block.

    Attributes:
        tokens: token ids (N,), unsigned: text tokens of all words first, then speech tokens of all words.
        text_counts: number of text tokens of each word (W,).
        speech_counts: number of speech tokens of each word (W,).
        word_counts: number of words of each document (D,).
        keys: 64-bit name of each document (D,), uint64.
    """

    tokens: npt.NDArray[np.unsignedinteger]
    text_counts: npt.NDArray[np.unsignedinteger]
    speech_counts: npt.NDArray[np.unsignedinteger]
    word_counts: npt.NDArray[np.unsignedinteger]
    keys: Keys

    @classmethod
    def from_documents(cls, documents: Sequence[Document], dtype: npt.DTypeLike = np.uint32) -> "Documents":
        """Make the table of a list of documents; ids are stored as `dtype`."""
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

    @classmethod
    def concatenate(cls, tables: Sequence["Documents"]) -> "Documents":
        """Join tables, of which there must be at least one, in their order."""
        ends = [int(table.text_bounds[-1]) for table in tables]
        texts = [table.tokens[:end] for table, end in zip(tables, ends, strict=True)]
        speech = [table.tokens[end:] for table, end in zip(tables, ends, strict=True)]
        joined = (np.concatenate([getattr(table, name) for table in tables]) for name in COUNTS)
        return cls(np.concatenate([*texts, *speech]), *joined)

    def take(self, places: Integers) -> "Documents":
        """Return the documents at these places (n,), in this order."""
        words = self.word_bounds
        text, speech = (spans[words] for spans in (self.text_bounds, self.speech_bounds))  # spans of each document
        return Documents(
            tokens=np.concatenate([ragged_take(self.tokens, spans, places) for spans in (text, speech)]),
            text_counts=ragged_take(self.text_counts, words, places),
            speech_counts=ragged_take(self.speech_counts, words, places),
            word_counts=self.word_counts[places],
            keys=self.keys[places],
        )

    def between(self, first: int, last: int) -> "Documents":
        """Return the documents with the numbers [first, last)."""
        low, high = self.word_bounds[[first, last]].tolist()
        text, speech = (slice(*spans[[low, high]].tolist()) for spans in (self.text_bounds, self.speech_bounds))
        return Documents(
            tokens=np.concatenate([self.tokens[text], self.tokens[speech]]),
            text_counts=self.text_counts[low:high],
            speech_counts=self.speech_counts[low:high],
            word_counts=self.word_counts[first:last],
            keys=self.keys[first:last],
        )

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.word_counts)

    @cached_property
    def word_bounds(self) -> Integers:
        """First word of each document, and the end (D + 1,)."""
        return bounds(self.word_counts)

    @cached_property
    def text_bounds(self) -> Integers:
        """Place in `tokens` where the text of each word starts, and the end (W + 1,)."""
        return bounds(self.text_counts)

    @cached_property
    def speech_bounds(self) -> Integers:
        """Place in `tokens` where the speech of each word starts, and the end (W + 1,)."""
        return bounds(self.speech_counts) + self.text_bounds[-1]


def bounds(counts: npt.NDArray[np.unsignedinteger] | Integers) -> Integers:
    """Convert counts (n,) to bounds (n + 1,), int64, which begin at 0."""
    result = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=result[1:], dtype=np.int64)
    return result
