"""Encoding of many different words together, in texts, since the tokenizers library takes long for each text.

Where texts can be cut before spaces, words with the space before them keep their ids one after the other, and a token
that begins with a space is the first of a word. A word without a space before it is put after a line break.

Shapes: W words, N tokens of all of them.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spiritlm_pl.corpora.text_files.flat_texts import FlatTexts
from spiritlm_pl.text_tokenizers.cutting import SPACE
from spiritlm_pl.text_tokenizers.known_words import IdTable, strings_of
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

JOINED = 128  # words of a text
BREAK = " \n"


class JoinedWords:
    """Encoder of words, each as one that follows others.

    Args:
        tokenizer: tokenizer of `transformers` that allows to cut texts before spaces.
        pieces: ids of its tokens by their names.
        space: what stands for a space in these names.
        own_space: whether a text has the space before it already, so that its first word must come without.
        breaks: where it allows to cut texts at line breaks, see `cutting.cut_at_line_breaks`.
        never: bytes before which it does not, see `cutting.never_cut_before`.
    """

    def __init__(
        self, tokenizer: TextTokenizer, pieces: dict[str, int], space: str, own_space: bool, breaks: str, never: bytes
    ) -> None:
        """Find the tokens that begin with a space."""
        self.tokenizer, self.own_space, self.breaks = tokenizer, own_space, breaks
        self.never = np.frombuffer(never, np.uint8)
        self.begin = np.zeros(max(pieces.values()) + 1, dtype=bool)
        self.begin[[token for piece, token in pieces.items() if piece.startswith((space, " "))]] = True

    def encode(self, words: pa.Array, dtype: np.dtype[Any]) -> IdTable:
        """Encode words, given by their bytes, of which those after a space begin with it, as ids of a type."""
        flat = FlatTexts.of(words)
        begins, lengths = flat.bounds[:-1], np.diff(flat.bounds)
        white = np.concatenate([[0], np.cumsum(flat.are_spaces(), dtype=np.int64)])
        first = np.append(flat.data, np.uint8(0))[begins]
        number = np.diff(white[flat.bounds])  # of bytes of white space
        plain = ~pc.match_substring(words, SPACE.encode()).to_numpy(zero_copy_only=False) & (lengths > number)
        spaced = plain & (number == 1) & (first == ord(" "))
        broken = plain & (number == 0) & ~np.isin(first, self.never) & (self.breaks != "none")
        groups = [np.flatnonzero(chosen) for chosen in (spaced, broken, ~spaced & ~broken)]
        ways = (self._spaced, self._broken, self._alone)
        table = IdTable.of([], dtype)
        for group, way in zip(groups, ways, strict=True):
            table = table.joined(way(strings_of(words.take(pa.array(group))), dtype))
        return table.take(np.argsort(np.concatenate(groups)))

    def _spaced(self, words: list[str], dtype: np.dtype[Any]) -> IdTable:
        """Encode words that begin with the only space in them."""
        texts = ["".join(words[first : first + JOINED]) for first in range(0, len(words), JOINED)]
        ids = IdTable.of(self.tokenizer.encode_batch([text[self.own_space :] for text in texts]), dtype).ids
        starts = np.flatnonzero(self.begin[ids])
        if len(starts) != len(words):  # each word has one at least, but an added token may look like one more
            return self._alone(words, dtype)
        return IdTable(ids, np.append(starts, len(ids)))

    def _broken(self, words: list[str], dtype: np.dtype[Any]) -> IdTable:
        """Encode words without a space in them."""
        # Space and break are apart, or together.
        alone = BREAK if self.breaks == "around" else [BREAK[self.own_space :]]
        skipped = sum(map(len, map(self.tokenizer.encode, alone)))
        table = self._spaced([BREAK + word for word in words], dtype)
        begins = table.bounds[:-1]
        halves = np.append(np.stack([begins, begins + skipped], axis=1), table.bounds[-1])
        return IdTable(table.ids, halves).take(1 + 2 * np.arange(len(words)))

    def _alone(self, words: list[str], dtype: np.dtype[Any]) -> IdTable:
        """Encode any words; those without a space before them are put after a line break if they would get one."""
        before = "\n" if self.tokenizer.prefixes else ""
        skipped = len(self.tokenizer.encode(before))
        texts = [word[self.own_space :] if word.startswith(" ") else before + word for word in words]
        lists = zip(words, self.tokenizer.encode_batch(texts), strict=True)
        return IdTable.of([ids if word.startswith(" ") else ids[skipped:] for word, ids in lists], dtype)
