"""Many whole texts to flat arrays of ids. Words that occur again are not encoded again, where texts can be cut at them.

Shapes: D texts, W words of all of them, N tokens of all of them.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spiritlm_pl.corpora.text_files.flat_texts import FlatTexts
from spiritlm_pl.text_tokenizers.backends import PROBE, HuggingFace, Published, SentencePiece
from spiritlm_pl.text_tokenizers.cutting import (
    SPACE,
    SPACE_OF_BYTES,
    can_be_cut,
    cut_at_line_breaks,
    cut_in_spaces,
    is_cut_between_kinds,
    never_cut_before,
)
from spiritlm_pl.text_tokenizers.joined_words import JoinedWords
from spiritlm_pl.text_tokenizers.known_words import Encode, IdTable, KnownWords, id_dtype, in_slices, strings_of
from spiritlm_pl.text_tokenizers.piece_cuts import PieceCuts, piece_cuts
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.text_tokenizers.words import Words, at_spaces, before_words, between_kinds, between_pieces

Counts = npt.NDArray[np.uint32]
Ids = npt.NDArray[np.unsignedinteger]
Integers = npt.NDArray[np.int64]
Cut = Callable[[FlatTexts], Words]


class FlatEncoder:
    """Encoder of whole texts, which gives each the ids that `TextTokenizer.encode` gives it."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        """Look whether the tokenizer allows to cut texts at spaces."""
        self.tokenizer = tokenizer
        self._dtype = id_dtype(tokenizer.vocab_size)
        self._cut: Cut | None = None
        following: Encode = self._one_by_one
        backend = tokenizer.backend
        if isinstance(backend, HuggingFace):
            described = json.loads(backend.tokenizer.backend_tokenizer.to_str())
            if can_be_cut(described) and _space_is_known(backend):
                breaks, never = cut_at_line_breaks(described), never_cut_before(described)
                kinds = is_cut_between_kinds(described)
                space, pieces = SPACE_OF_BYTES if kinds else SPACE, backend.tokenizer.get_vocab()
                joined = JoinedWords(tokenizer, pieces, space, not backend.space, breaks, never)
                runs = cut_in_spaces(described)
                self._cut = partial(at_spaces, runs=runs, breaks=breaks, never=never, apart=backend.prefixes)
                following = partial(self._joined, joined)
                if kinds:
                    known = KnownWords(following, self._dtype)
                    following = partial(self._in_kinds, known, backend.added)
        elif isinstance(backend, SentencePiece) and not isinstance(backend, Published):
            self._cut, following = partial(before_words, apart=not backend.prefixes), self._following
            if cuts := piece_cuts(backend.model):
                within = KnownWords(partial(self._within, backend), self._dtype)
                following = partial(self._in_pieces, cuts, within, KnownWords(following, self._dtype))
            following = partial(self._without_spaces, following)
        self._beginnings, self._others = (KnownWords(way, self._dtype) for way in (self._one_by_one, following))

    @property
    def cuts(self) -> bool:
        """Whether texts are cut at spaces, which is faster."""
        return self._cut is not None

    def encode(self, texts: pa.Array) -> tuple[Counts, Ids]:
        """Encode texts, which are large strings of Arrow; return the number of tokens of each (D,) and all ids (N,)."""
        if self._cut is None:
            whole = self._one_by_one(texts)
        else:
            flat = FlatTexts.of(texts)
            whole = _encoded(flat, Words.of_parts(flat, self._cut), self._others, self._beginnings)
        return np.diff(whole.bounds).astype(np.uint32), whole.ids

    def _one_by_one(self, words: pa.Array) -> IdTable:
        return self._in_slices(self.tokenizer.encode_batch, words)

    def _following(self, words: pa.Array) -> IdTable:
        return self._in_slices(self.tokenizer.encode_following, words)

    def _in_slices(self, encode: Callable[[list[str]], list[list[int]]], words: pa.Array) -> IdTable:
        return in_slices(lambda some: IdTable.of(encode(strings_of(some)), self._dtype), words)

    def _without_spaces(self, encode: Encode, words: pa.Array) -> IdTable:
        return encode(FlatTexts.of(words).without_spaces().array())

    def _joined(self, joined: JoinedWords, words: pa.Array) -> IdTable:
        return in_slices(lambda some: joined.encode(some, self._dtype), words)

    def _within(self, backend: SentencePiece, parts: pa.Array) -> IdTable:
        return self._in_slices(backend.encode_within, parts)

    def _in_kinds(self, known: KnownWords, whole: Sequence[str], words: pa.Array) -> IdTable:
        flat = FlatTexts.of(words)
        return _encoded(flat, between_kinds(flat, words, whole), known, known)

    def _in_pieces(self, cuts: PieceCuts, others: KnownWords, beginnings: KnownWords, words: pa.Array) -> IdTable:
        flat = FlatTexts.of(words)
        return _encoded(flat, between_pieces(flat, cuts), others, beginnings)


def _space_is_known(backend: HuggingFace) -> bool:
    """Tell whether it is known where a space comes before a text; an added token may hide it, or get one itself."""
    if any(token in PROBE for token in backend.added):
        return False
    return backend.space != "" or (backend.prefixes and not backend.added)


def _encoded(texts: FlatTexts, words: Words, others: KnownWords, beginnings: KnownWords) -> IdTable:
    """Encode texts by the ids of their words."""
    strings = FlatTexts(texts.data, words.starts).array()
    begun = len(words.beginnings) > 0
    table, places = others.places(strings, words.beginnings if begun else None)
    if begun:
        own, numbers = beginnings.places(strings.take(pa.array(words.beginnings)))
        places[words.beginnings] = len(table) + numbers
        table = table.joined(own)
    found = table.take(places)
    return IdTable(found.ids, found.bounds[words.firsts])
