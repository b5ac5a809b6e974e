"""Many whole texts to flat arrays of ids. Words that occur again are not encoded again, where texts can be cut at them.

Shapes: D texts, W words of all of them, N tokens of all of them.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spiritlm_pl.text_tokenizers.backends import HuggingFace, Published
from spiritlm_pl.text_tokenizers.cutting import can_be_cut
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

Counts = npt.NDArray[np.uint32]
Ids = npt.NDArray[np.uint32]
Integers = npt.NDArray[np.int64]
Cut = Callable[[pa.Array], pa.Array]  # texts (D,) to lists of their words (D,)
WHITE_SPACE = "".join(char for char in map(chr, range(0x10000)) if char.isspace())
NO_WIDTH = "\u180e\u200b\ufeff"  # which some tokenizers take for white space


def space_class(characters: Iterable[str]) -> str:
    """Return a regular expression for RE2 that matches one of these characters."""
    return "[" + "".join(f"\\x{{{ord(char):x}}}" for char in characters) + "]"


CUT = re.compile(f"(?<=[^\\s{NO_WIDTH}]) (?=[^\\s{NO_WIDTH}])")
NO_CUT = "(?:^|{0}) | (?:{0}|$)".format(space_class(WHITE_SPACE + NO_WIDTH))  # a space at which no text is cut, for RE2
MOST_WORDS = 1 << 18  # words that are kept
MOST_IDS = 1 << 22  # ids of words that are kept


class FlatEncoder:
    """Encoder of whole texts, which gives each the ids that `TextTokenizer.encode` gives it."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        """Look whether the tokenizer allows to cut texts at spaces."""
        self.tokenizer = tokenizer
        self._cut = _cut_of(tokenizer)
        self._known: dict[str, int] = {}  # places of words in the table of their ids
        self._table = _Table()

    @property
    def cuts(self) -> bool:
        """Whether texts are cut at spaces, which is faster."""
        return self._cut is not None

    def encode(self, texts: Sequence[str]) -> tuple[Counts, Ids]:
        """Encode texts; return the number of tokens of each (D,) and all ids (N,)."""
        if self._cut is None or not texts:
            whole = _Table.of(self.tokenizer.encode_batch(texts))
            return whole.counts.astype(np.uint32), whole.ids
        lists = self._cut(pa.array(texts, pa.large_string()))
        ends = lists.offsets.to_numpy() - lists.offsets[0].as_py()  # (D + 1,)
        words = lists.flatten().dictionary_encode()
        indices = words.indices.to_numpy(zero_copy_only=False)  # (W,) of different words
        first = ends[:-1]  # beginnings of texts are encoded by themselves; every text has one
        beginnings = _Table.of(self.tokenizer.encode_batch(words.dictionary.take(pa.array(indices[first])).to_pylist()))
        numbers = np.zeros(len(words.dictionary), dtype=np.int64)  # place of each different word in the table
        following = np.ones(len(indices), dtype=bool)
        following[first] = False
        numbers[indices[following]] = 1
        used = np.flatnonzero(numbers)
        table, numbers[used] = self._places(words.dictionary.take(pa.array(used)).to_pylist())
        table = table.joined(beginnings)
        of_words = numbers[indices]
        of_words[first] = len(table.counts) - len(texts) + np.arange(len(texts))
        counts = table.counts[of_words]
        return np.add.reduceat(counts, first).astype(np.uint32), table.take(of_words)

    def _places(self, words: list[str]) -> tuple["_Table", Integers]:
        """Return a table of ids, and the places in it of different words that each follow something."""
        if len(self._known) > MOST_WORDS or len(self._table.ids) > MOST_IDS:
            self._known, self._table = {}, _Table()
        if missing := [word for word in words if word not in self._known]:
            begin = len(self._table.counts)
            self._known.update(zip(missing, range(begin, begin + len(missing)), strict=True))
            self._table = self._table.joined(_Table.of(self.tokenizer.encode_following(missing)))
        places = np.fromiter(map(self._known.__getitem__, words), dtype=np.int64, count=len(words))
        return self._table, places


class _Table:
    """Ids of words, one after the other, and the number of ids of each."""

    def __init__(self, ids: Ids | None = None, counts: Integers | None = None) -> None:
        self.ids = np.zeros(0, dtype=np.uint32) if ids is None else ids
        self.counts = np.zeros(0, dtype=np.int64) if counts is None else counts

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> "_Table":
        counts = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        return cls(np.fromiter(chain.from_iterable(lists), dtype=np.uint32, count=int(counts.sum())), counts)

    def joined(self, other: "_Table") -> "_Table":
        return _Table(np.concatenate([self.ids, other.ids]), np.concatenate([self.counts, other.counts]))

    def take(self, places: Integers) -> Ids:
        """Return the ids of the words at some places, one word after the other."""
        starts = np.cumsum(self.counts) - self.counts
        counts = self.counts[places]
        shift = starts[places] - (np.cumsum(counts) - counts)
        return self.ids[np.repeat(shift, counts) + np.arange(counts.sum())]


def _cut_of(tokenizer: TextTokenizer) -> Cut | None:
    """Return the function that cuts texts, each into its beginning and the words that follow, each after one space.

    Returns:
        The function; None if the words might have other ids than within the text.
    """
    backend = tokenizer.backend
    if isinstance(backend, HuggingFace):
        described = json.loads(backend.tokenizer.backend_tokenizer.to_str())
        return _at_spaces if can_be_cut(described) and (backend.space or not backend.added) else None
    if isinstance(backend, Published):
        return None
    return _before_all_words if backend.prefixes else _at_white_space


def _at_spaces(texts: pa.Array) -> pa.Array:
    """Cut texts at the spaces that `CUT` finds."""
    found = pc.split_pattern(texts, " ")
    harder = pc.match_substring_regex(texts, NO_CUT).to_numpy(zero_copy_only=False)
    if not harder.any():
        return found
    cut = pa.array(map(CUT.split, texts.filter(pa.array(harder)).to_pylist()), found.type)
    places = np.arange(len(texts))
    places[harder] = len(texts) + np.arange(len(cut))
    return pa.concat_arrays([found, cut]).take(pa.array(places))


def _at_white_space(texts: pa.Array) -> pa.Array:
    """Cut texts for a SentencePiece model, which is given words alone; the beginning is empty if it has a space."""
    return pc.utf8_split_whitespace(texts)


def _before_all_words(texts: pa.Array) -> pa.Array:
    """Cut texts for a SentencePiece model that gives the first word a space, too: the beginning is empty."""
    space, nothing = (pa.scalar(value, texts.type) for value in (" ", ""))
    return pc.utf8_split_whitespace(pc.binary_join_element_wise(space, texts, nothing))
