"""Many whole texts to flat arrays of ids. Words that occur again are not encoded again, where texts can be cut at them.

Shapes: D texts, N tokens of all of them.
"""

import json
import re
from array import array
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from spiritlm_pl.text_tokenizers.backends import HuggingFace, Published
from spiritlm_pl.text_tokenizers.cutting import can_be_cut
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

Counts = npt.NDArray[np.uint32]
Ids = npt.NDArray[np.uint32]
CUT = re.compile("(?<=[^\\s\u180e\u200b\ufeff]) (?=[^\\s\u180e\u200b\ufeff])")
MOST_WORDS = 1 << 18  # words whose ids are kept
LONGEST_WORD = 64  # characters of a word that is kept
ID_BYTES = array("I").itemsize
assert ID_BYTES == np.dtype(np.uint32).itemsize


class FlatEncoder:
    """Encoder of whole texts, which gives each the ids that `TextTokenizer.encode` gives it."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        """Look whether the tokenizer allows to cut texts at spaces."""
        self.tokenizer = tokenizer
        self._cut = _cut_of(tokenizer)
        self._words: dict[str, bytes] = {}

    @property
    def cuts(self) -> bool:
        """Whether texts are cut at spaces, which is faster."""
        return self._cut is not None

    def encode(self, texts: Sequence[str]) -> tuple[Counts, Ids]:
        """Encode texts; return the number of tokens of each (D,) and all ids (N,)."""
        if self._cut is None:
            return _joined([_bytes(ids) for ids in self.tokenizer.encode_batch(texts)])
        parts = [self._cut(text) for text in texts]
        first = self.tokenizer.encode_batch([words[0] for words in parts])
        following = [words[1:] for words in parts]
        missing = self._learn(set[str]().union(*following))
        known = self._words.__getitem__
        encoded = [_bytes(ids) + b"".join(map(known, words)) for ids, words in zip(first, following, strict=True)]
        for word in missing:
            if len(word) > LONGEST_WORD:  # it hardly comes again
                del self._words[word]
        return _joined(encoded)

    def _learn(self, words: set[str]) -> list[str]:
        """Encode the words that are not known, and return them."""
        if len(self._words) > MOST_WORDS:
            self._words.clear()
        missing = sorted(words - self._words.keys())
        self._words.update(zip(missing, map(_bytes, self.tokenizer.encode_following(missing)), strict=True))
        return missing


def _cut_of(tokenizer: TextTokenizer) -> Callable[[str], list[str]] | None:
    """Return the function that cuts a text into its beginning and the words that follow, each after one space.

    Returns:
        The function; None if the words might have other ids than within the text.
    """
    backend = tokenizer.backend
    if isinstance(backend, HuggingFace):
        described = json.loads(backend.tokenizer.backend_tokenizer.to_str())
        return CUT.split if can_be_cut(described) and (backend.space or not backend.added) else None
    if isinstance(backend, Published):
        return None
    return partial(_words, prefixes=backend.prefixes)


def _words(text: str, prefixes: bool) -> list[str]:
    """Cut a text for a SentencePiece model, which is given words alone; the beginning is empty if it has a space."""
    words = text.split()
    return ["", *words] if prefixes or not words or text[0].isspace() else words


def _bytes(ids: Sequence[int]) -> bytes:
    return array("I", ids).tobytes()


def _joined(encoded: Sequence[bytes]) -> tuple[Counts, Ids]:
    counts = np.fromiter(map(len, encoded), np.uint32, len(encoded)) // ID_BYTES
    return counts, np.frombuffer(b"".join(encoded), np.uint32)
