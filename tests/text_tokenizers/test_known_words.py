"""Words are encoded once, as long as they are not forgotten, and keep their ids."""

from unittest.mock import patch

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from spiritlm_pl.text_tokenizers import known_words
from spiritlm_pl.text_tokenizers.known_words import IdTable, KnownWords, in_slices

BATCHES = st.lists(st.lists(st.sampled_from("a b c d e f ab abc".split()), max_size=6), max_size=8)


class Encoder:
    """Encoder of words by their bytes, which notes what it was given."""

    def __init__(self) -> None:
        """Note nothing yet."""
        self.met: list[list[str]] = []

    def __call__(self, words: pa.Array) -> IdTable:
        """Encode words."""
        self.met.append([word.decode() for word in words.to_pylist()])
        return IdTable.of([[*word] for word in words.to_pylist()], np.dtype(np.uint16))


def ids_of(known: KnownWords, batch: list[str]) -> list[int]:
    table, places = known.places(pa.array([word.encode() for word in batch], pa.large_binary()))
    return table.take(places).ids.tolist()


def test_words_are_encoded_once() -> None:
    encoder = Encoder()
    known = KnownWords(encoder, np.dtype(np.uint16))
    for batch in (["b", "a", "b"], [], ["a", "b"], ["c", "a", "c"]):
        assert ids_of(known, batch) == [*"".join(batch).encode()]
    assert encoder.met == [["b", "a"], ["c"]]


def test_those_that_do_not_occur_are_forgotten_when_there_are_many(monkeypatch) -> None:
    monkeypatch.setattr(known_words, "MOST_WORDS", 3)
    encoder = Encoder()
    known = KnownWords(encoder, np.dtype(np.uint16))
    for batch in (["a", "b", "c", "d"], ["d", "b", "e"], ["b", "e", "a"]):
        assert ids_of(known, batch) == [*"".join(batch).encode()]
    assert encoder.met == [["a", "b", "c", "d"], ["e"], ["a"]]


def test_words_that_are_left_out_are_not_encoded() -> None:
    encoder = Encoder()
    known = KnownWords(encoder, np.dtype(np.uint16))
    assert ids_of(known, ["a", "b"]) == [*b"ab"]
    words = pa.array([b"c", b"b", b"d", b"b", b"c"], pa.large_binary())
    table, places = known.places(words, np.array([0, 1]))
    assert table.take(places[2:]).ids.tolist() == [*b"dbc"]
    table, places = known.places(pa.array([b"e", b"a", b"d"], pa.large_binary()), np.array([0]))
    assert table.take(places[1:]).ids.tolist() == [*b"ad"]
    assert encoder.met == [["a", "b"], ["c", "d"]]


def test_few_bytes_are_encoded_at_a_time(monkeypatch) -> None:
    """Libraries take a hundred times as much memory as the text."""
    monkeypatch.setattr(known_words, "MOST_BYTES", 4)
    encoder = Encoder()
    batch = ["a", "ab", "abc", "abcdef", "b", "c"]
    words = pa.array([b"before", *(word.encode() for word in batch)], pa.large_binary()).slice(1)
    assert in_slices(encoder, words).ids.tolist() == [*"".join(batch).encode()]
    assert encoder.met == [["a", "ab"], ["abc"], ["abcdef"], ["b", "c"]]
    assert len(in_slices(encoder, words.slice(0, 0))) == 0


@given(batches=BATCHES, most=st.integers(0, 9), few=st.sampled_from([1, 4, 0]), left_out=st.integers(0, 3))
def test_ids_are_those_of_the_encoder(batches: list[list[str]], most: int, few: int, left_out: int) -> None:
    """However many words are kept, and however those that are known are found."""
    with patch.multiple(known_words, MOST_WORDS=most, FEW=few):
        known = KnownWords(Encoder(), np.dtype(np.uint16))
        for batch in batches:
            assert ids_of(known, batch) == [*"".join(batch).encode()]
            strings = pa.array([word.encode() for word in batch], pa.large_binary())
            table, places = known.places(strings, np.arange(min(left_out, len(batch))))
            assert table.take(places[left_out:]).ids.tolist() == [*"".join(batch[left_out:]).encode()]


def test_few_words_are_not_compared_with_all_that_are_known() -> None:
    encoder = Encoder()
    known = KnownWords(encoder, np.dtype(np.uint16))
    ids_of(known, [str(number) for number in range(100)])
    with patch.object(KnownWords, "_numbered", side_effect=AssertionError):
        assert ids_of(known, ["7", "new", "99", "new"]) == [*b"7new99new"]
        assert ids_of(known, ["new", "other"]) == [*b"newother"]
    assert encoder.met[1:] == [["new"], ["other"]]
    many = [str(number) for number in range(50, 150)]
    assert ids_of(known, [*many, "other"]) == [*"".join(many).encode(), *b"other"]
    assert encoder.met[3:] == [[str(number) for number in range(100, 150)]]
