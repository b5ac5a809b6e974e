"""Documents of whole parts equal those of one utterance after the other, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.documents import Document, Documents, WordIds
from spiritlm_pl.data.merge import run_starts
from spiritlm_pl.data.part_tables import PartTables
from spiritlm_pl.data.rng import name_key
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.data.utterances import aligned_document, speech_of, spoken_text
from spiritlm_pl.streams import PITCH, STYLE, SpeechLayout, Stream
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

BASE = SpeechLayout.spirit_lm(num_units=7, frame_rate=25.0)
EXPRESSIVE = SpeechLayout.spirit_lm(num_units=7, frame_rate=25.0, num_pitches=5, num_styles=4)
CODEC = SpeechLayout((Stream(name="code", prefix="Co", size=6, num_codebooks=3, rate=12.5, deduplicated=False),))
WORDS = ("the", "cat", "ran", "", "it's", "a b", "zoë")


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return train_text_tokenizer(["the cat ran to the mat", "it's a dog", "zoë sat"])


def utterance(name: str, frames: list[int], words: list[tuple[str, float]], layout: SpeechLayout, text: str):
    rng = np.random.default_rng(len(frames) + len(words))
    books = layout.first.num_codebooks
    units = np.array(frames, dtype=np.uint16) % layout.first.size
    starts = run_starts(units) if layout.first.deduplicated else np.arange(len(units) // books)
    codes = {PITCH: rng.integers(0, 5, 9).astype(np.uint16), STYLE: rng.integers(0, 4, 3).astype(np.uint16)}
    return UnitUtterance(
        id=name,
        text=text,
        duration=len(frames) / 25,
        words=tuple(TimedWord(word, start, start + 0.1) for word, start in words),
        units=units[starts] if layout.first.deduplicated else units[: len(starts) * books].reshape(-1, books),
        unit_starts=starts.astype(np.uint32),
        num_frames=len(frames),
        codes=codes if layout.expressive else {},
    )


def documents_of(one: UnitUtterance, layout: SpeechLayout, tokenizer: TextTokenizer, vocabulary: Vocabulary):
    """Yield the documents of one utterance by kind, the plain way."""
    if len(one.units):
        yield "speech", Document(name_key(one.id), [WordIds([], speech_of(one, layout, vocabulary).ids(vocabulary))])
    aligned = aligned_document(one, layout, tokenizer, vocabulary)
    if aligned is not None:
        yield "aligned", aligned
    ids = tokenizer.encode(spoken_text(one))
    if ids:
        yield "text", Document(name_key(one.id), [WordIds(ids, [])])


UTTERANCES = st.lists(
    st.tuples(
        st.lists(st.integers(0, 6), max_size=60),
        st.lists(st.tuples(st.sampled_from(WORDS), st.floats(0, 3)), max_size=6),
        st.sampled_from(("", "a cat", "  the  dog ", "zoë")),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("kept", ["all", "base"])
@pytest.mark.parametrize("layout", [BASE, EXPRESSIVE, CODEC], ids=["base", "expressive", "codec"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(made=UTTERANCES)
def test_parts_give_the_documents_of_their_utterances(tmp_path: Path, tokenizer, layout, kept, made) -> None:
    said = [utterance(f"u{n}", frames, words, layout, text) for n, (frames, words, text) in enumerate(made)]
    write_part(tmp_path / "train", 0, said, "x")
    finish_folder(tmp_path / "train", ["x"], layout=layout, provenance={})
    corpus = UnitCorpus(tmp_path)
    streams = layout.streams[:1] if kept == "base" else layout.streams
    vocabulary = Vocabulary(num_text=tokenizer.vocab_size, streams=streams)
    one_by_one: dict[str, list] = {}
    seconds: dict[str, float] = {}
    for one in corpus:
        for kind, document in documents_of(one, layout, tokenizer, vocabulary):
            one_by_one.setdefault(kind, []).append(document)
            seconds[kind] = seconds.get(kind, 0.0) + (0.0 if kind == "text" else one.duration)
    found = PartTables(tokenizer, vocabulary).documents(corpus.table(0), layout)
    assert found.keys() == one_by_one.keys()
    for kind, (table, length) in found.items():
        expected = Documents.from_documents(one_by_one[kind])
        for name in ("tokens", "text_counts", "speech_counts", "word_counts", "keys"):
            assert getattr(table, name).tolist() == getattr(expected, name).tolist(), (kind, name)
        assert length == pytest.approx(seconds[kind])


@given(counts=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8), seed=st.integers(0, 9))
def test_documents_are_taken_and_joined(counts: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    documents = [
        Document(n, [WordIds(rng.integers(0, 9, texts).tolist(), rng.integers(9, 20, speech).tolist())] * (1 + n % 3))
        for n, (texts, speech) in enumerate(counts)
    ]
    order = rng.permutation(len(documents))
    cut = int(rng.integers(0, len(documents) + 1))
    parts = [Documents.from_documents(some) for some in (documents[:cut], documents[cut:])]
    found = Documents.concatenate(parts).take(order)
    expected = Documents.from_documents([documents[place] for place in order])
    for name in ("tokens", "text_counts", "speech_counts", "word_counts", "keys"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
