"""Documents of a whole part of a tokenised corpus at once, from Arrow columns to flat arrays.

They are the documents that `spiritlm_pl.data.utterances` makes of one utterance after the other.

Shapes: U utterances, W words, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spiritlm_pl.data.blocks import token_dtype
from spiritlm_pl.data.documents import Documents, Integers, bounds
from spiritlm_pl.data.merge import Ragged, check_streams, merge_many
from spiritlm_pl.data.rng import derive_many, name_keys
from spiritlm_pl.data.utterances import ROUNDING
from spiritlm_pl.runtime.ragged import ragged_take
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.text_tokenizers.known_words import Ids, IdTable, KnownWords, strings_of
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Texts:
    """Token ids of texts, one after the other.

    Attributes:
        ids: token ids of all texts (N,).
        counts: number of tokens of each text.
    """

    ids: npt.NDArray[np.integer]
    counts: Integers

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> "Texts":
        """Join lists of token ids."""
        counts = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        ids = np.fromiter((token for one in lists for token in one), dtype=np.int64, count=int(counts.sum()))
        return cls(ids, counts)


@dataclass(frozen=True, eq=False)
class _Lists:
    """Values of a column of lists (Arrow), one list after the other, and the length of each list (U,)."""

    values: pa.Array
    counts: Integers


class PartTables:
    """Maker of the documents of parts.

    Args:
        tokenizer: text tokenizer for words and transcripts.
        vocabulary: layout of the token ids.
        transcripts: whether texts of utterances are documents, too.
    """

    def __init__(self, tokenizer: TextTokenizer, vocabulary: Vocabulary, transcripts: bool = True) -> None:
        """Keep the settings; words are encoded when they are first met."""
        self.tokenizer, self.vocabulary, self.transcripts = tokenizer, vocabulary, transcripts
        self.dtype = token_dtype(vocabulary)
        # Words that begin an utterance have no space before them.
        self.first_words, self.other_words = (
            KnownWords(partial(self._encoded, first), self.dtype) for first in (True, False)
        )

    def documents(self, table: pa.Table, layout: SpeechLayout, corpus: int = 0) -> dict[str, tuple[Documents, float]]:
        """Return the documents of each kind with their seconds of speech; kinds without documents are left out.

        Args:
            table: rows of a part, as `UnitCorpus` reads them.
            layout: streams of its tokenizer.
            corpus: number of the corpus, by which utterances of equal ids in several corpora have different keys.

        Raises:
            ValueError: if the part lacks a stream of the vocabulary.
        """
        keys = name_keys(name.encode() for name in table["id"].to_pylist())
        if corpus:
            keys = derive_many(keys, corpus)
        seconds = table["duration"].to_numpy()
        words = _lists(table["words"])
        texts = self._words(words)
        per_word = bounds(words.counts)
        text_of = bounds(texts.counts)[per_word]  # (U + 1,) place of each utterance's first text token
        ids, starts, counts = self._speech(table, layout)
        found: dict[str, tuple[Documents, float]] = {}

        spoken = np.flatnonzero(counts)
        if len(spoken):
            one = np.ones(len(spoken), dtype=np.int64)
            speech = self._documents(Texts(ids[:0], 0 * one), Texts(ids, counts[spoken]), one, keys[spoken])
            found["speech"] = speech, float(seconds[spoken].sum())
        aligned = np.flatnonzero((counts > 0) & (np.diff(text_of) > 0))
        if len(aligned):
            spoken_words = self._speech_of_words(starts, bounds(counts), words, per_word)
            chosen = Texts(ragged_take(texts.ids, text_of, aligned), ragged_take(texts.counts, per_word, aligned))
            said = Texts(ragged_take(ids, bounds(counts), aligned), ragged_take(spoken_words, per_word, aligned))
            found["aligned"] = (
                self._documents(chosen, said, words.counts[aligned], keys[aligned]),
                float(seconds[aligned].sum()),
            )
        if self.transcripts:
            written = self._transcripts(table, texts, text_of, words)
            kept = np.flatnonzero(written.counts)
            if len(kept):
                one = np.ones(len(kept), dtype=np.int64)
                chosen = Texts(written.ids, written.counts[kept])
                found["text"] = self._documents(chosen, Texts(ids[:0], 0 * one), one, keys[kept]), 0.0
        return found

    def _words(self, words: _Lists) -> Texts:
        """Encode all words, each different one once."""
        begins = np.zeros(len(words.values), dtype=bool)
        ends = bounds(words.counts)
        begins[ends[:-1][words.counts > 0]] = True
        strings = pc.struct_field(words.values, "word").cast(pa.large_binary())
        table, places = IdTable.of([], self.dtype), np.zeros(len(begins), dtype=np.int64)
        for kind, known in ((False, self.other_words), (True, self.first_words)):
            chosen = np.flatnonzero(begins == kind)
            own, numbers = known.places(strings.take(pa.array(chosen)))
            places[chosen] = len(table) + numbers
            table = table.joined(own)
        found = table.take(places)
        return Texts(found.ids, np.diff(found.bounds))

    def _encoded(self, first: bool, words: pa.Array) -> IdTable:
        """Encode different words, each as the first of a text, or as one that follows others."""
        names = strings_of(words)
        whole = self.tokenizer.encode_batch if first else self.tokenizer.encode_following
        plain = [name.split() == [name] for name in names]
        batch = iter(whole([name for name, is_plain in zip(names, plain, strict=True) if is_plain]))
        found = [
            next(batch) if is_plain else self.tokenizer.encode_words([name] if first else ["", name])[-1]
            for name, is_plain in zip(names, plain, strict=True)
        ]
        return IdTable.of(found, self.dtype)

    def _speech(self, table: pa.Table, layout: SpeechLayout) -> tuple[Ids, npt.NDArray[np.float64], Integers]:
        """Return token ids and starts in seconds of all utterances (N,), and the number of tokens of each (U,)."""
        check_streams((layout.first.name, *(stream.name for stream in layout.streams[1:])), self.vocabulary)
        streams = {stream.name: stream for stream in layout.streams}
        units = _codes(table["units"], layout.first.num_codebooks)
        further = {
            name: _codes(table[stream.plural], stream.num_codebooks)
            for name, stream in streams.items()
            if name != layout.first.name and name in self.vocabulary.layout.names
        }
        spoken = units.counts > 0  # codes of an utterance without units do not count
        further = {name: _where(one, spoken) for name, one in further.items()}
        starts = _lists(table["unit_starts"]).values.to_numpy(zero_copy_only=False)
        tokens, counts = merge_many(units, starts, further, layout, self.vocabulary.streams)
        return tokens.ids(self.vocabulary).astype(self.dtype), tokens.starts, counts

    @staticmethod
    def _speech_of_words(
        starts: npt.NDArray[np.float64], ends: Integers, words: _Lists, per_word: Integers
    ) -> Integers:
        """Return the number of speech tokens of each word (W,), as `utterances.speech_of_words` shares them out."""
        begins = np.zeros(int(per_word[-1]) + 1, dtype=np.int64)  # first token of each word
        word_starts = pc.struct_field(words.values, "start").to_numpy(zero_copy_only=False)
        spans = ends.tolist()
        for place in np.flatnonzero(words.counts > 1).tolist():
            first, last = per_word[place] + 1, per_word[place + 1]
            begun = np.minimum.accumulate(starts[spans[place] : spans[place + 1]][::-1])[::-1] + ROUNDING
            begins[first:last] = np.maximum.accumulate(begun.searchsorted(word_starts[first:last]))
            begins[first:last] += spans[place]
        worded = words.counts > 0
        begins[per_word[:-1][worded]] = ends[:-1][worded]
        following = begins[1:].copy()
        following[per_word[1:][worded] - 1] = ends[1:][worded]
        return following - begins[:-1]

    def _transcripts(self, table: pa.Table, texts: Texts, text_of: Integers, words: _Lists) -> Texts:
        """Return the texts of all utterances: of their words, or else their transcripts."""
        names = pc.utf8_trim_whitespace(pc.struct_field(words.values, "word"))
        filled = pc.not_equal(names, "").to_numpy(zero_copy_only=False)
        owners = np.repeat(np.arange(len(words.counts)), words.counts)
        wordless = np.flatnonzero(np.bincount(owners[filled], minlength=len(words.counts)) == 0)
        if not len(wordless):
            return Texts(texts.ids, np.diff(text_of))
        written = table["text"].take(pa.array(wordless)).to_pylist()
        others = Texts.of([self.tokenizer.encode(" ".join((text or "").split())) for text in written])
        joined = np.concatenate([texts.ids, others.ids])
        spans = np.diff(text_of)
        spans[wordless] = others.counts
        begins = text_of[:-1].copy()
        begins[wordless] = len(texts.ids) + bounds(others.counts)[:-1]
        return Texts(_slices(joined, begins, spans), spans)

    def _documents(self, texts: Texts, speech: Texts, words: Integers, keys: npt.NDArray[np.uint64]) -> Documents:
        return Documents(
            tokens=np.concatenate([texts.ids, speech.ids], dtype=self.dtype, casting="unsafe"),
            text_counts=texts.counts.astype(np.uint32),
            speech_counts=speech.counts.astype(np.uint32),
            word_counts=words.astype(np.uint32),
            keys=keys,
        )


def _slices(values: npt.NDArray[np.integer], begins: Integers, counts: Integers) -> npt.NDArray[np.integer]:
    """Return the slices of an array that begin at some places (n,) and have some lengths (n,), one after the other."""
    ends = bounds(counts)
    return values[np.arange(ends[-1]) + np.repeat(begins - ends[:-1], counts)]


def _lists(column: pa.ChunkedArray) -> "_Lists":
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return _Lists(lists.flatten(), counts)


def _codes(column: pa.ChunkedArray, num_codebooks: int) -> Ragged:
    found = _lists(column)
    values = found.values.to_numpy(zero_copy_only=False)
    return Ragged(values if num_codebooks == 1 else values.reshape(-1, num_codebooks), found.counts // num_codebooks)


def _where(codes: Ragged, kept: npt.NDArray[np.bool_]) -> Ragged:
    return Ragged(codes.values[np.repeat(kept, codes.counts)], np.where(kept, codes.counts, 0))
