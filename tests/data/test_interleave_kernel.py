"""The numpy kernel against the plain-Python rule, bit for bit."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritlm_pl.data.documents import Document, Documents, WordIds
from spiritlm_pl.data.interleave import MODES, Interleaving, Mode, visit
from spiritlm_pl.data.interleave_reference import visit_document
from spiritlm_pl.data.packing import PackedBlock, rows_needed, shortest_row
from spiritlm_pl.streams import UNIT, Stream, delayed
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=50, num_units=20, num_tasks=2, multiple_of=1)
MARKERS = VOCABULARY.opened_by()
DELIMITERS = ((None, None), (None, 2), (1, None), (1, 2), (2, 2))  # some tokenizers begin and end with one token
vocabularies = st.sampled_from(
    [replace(VOCABULARY, begin_of_document=begin, end_of_document=end) for begin, end in DELIMITERS]
)
CODEC = Stream(name="codec", prefix="Co", size=8, rate=12.5, num_codebooks=3, deduplicated=False)
DELAYED = [
    Vocabulary(num_text=50, streams=delayed([CODEC], delay), num_tasks=2, multiple_of=1, end_of_document=end)
    for delay, end in ((1, None), (2, 2))
]

words = st.builds(WordIds, st.lists(st.integers(0, 49), max_size=4), st.lists(st.integers(52, 71), max_size=6))
documents = st.lists(st.builds(Document, st.integers(0, 2**64 - 1), st.lists(words, max_size=25)), max_size=8)
spans = st.tuples(st.integers(1, 6), st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))
frames = st.lists(st.tuples(*[st.integers(52 + 8 * book, 59 + 8 * book) for book in range(3)]), max_size=5)
codec_words = st.builds(
    WordIds,
    st.lists(st.integers(0, 49), max_size=4),
    frames.map(lambda found: [code for frame in found for code in frame]),
)
codec_documents = st.lists(
    st.builds(Document, st.integers(0, 2**64 - 1), st.lists(codec_words, max_size=15)), max_size=6
)
options = st.builds(Interleaving, mode=st.sampled_from(MODES), text_span=spans, speech_span=spans)


def packed(
    table: Documents, order: np.ndarray, key: int, how: Interleaving, row_length: int, vocabulary: Vocabulary
) -> PackedBlock:
    pieces = visit(table, order, key, how, vocabulary)
    length = int(pieces.length.sum() + (pieces.marker >= 0).sum())
    rows = max(1, rows_needed(length, row_length, vocabulary)) + key % 2  # with and without room to spare
    return PackedBlock(table.tokens, pieces, rows, row_length, vocabulary)


def reference_rows(
    sequences: list[list[int]], num_rows: int, row_length: int, vocabulary: Vocabulary
) -> tuple[list[list[int]], list[int], list[bool]]:
    """Rows, segment bounds and padding flags, token by token."""
    stream = [
        (token, number, place) for number, sequence in enumerate(sequences) for place, token in enumerate(sequence)
    ]
    rows, bounds, padding = [], [], []
    for row in range(num_rows):
        part = stream[row * len(stream) // num_rows : (row + 1) * len(stream) // num_rows]
        out: list[int] = []
        base = row * row_length
        for index, (token, number, place) in enumerate(part):
            if index == 0 or place == 0:
                bounds.append(base + len(out))
                padding.append(False)
            if index == 0 and place > 0:
                out += vocabulary.opening
                if token not in MARKERS:
                    before = next(token for token in reversed(sequences[number][:place]) if token in MARKERS)
                    out.append(vocabulary.marker(MARKERS[before]))
            out.append(token)
        if len(out) < row_length:
            bounds.append(base + len(out))
            padding.append(True)
        rows.append(out + [0] * (row_length - len(out)))
    return rows, [*bounds, num_rows * row_length], padding


@settings(max_examples=300, deadline=None)
@given(documents, st.integers(0, 2**64 - 1), options, st.integers(0, 38), vocabularies, st.data())
def test_visit_and_rows_equal_the_reference(documents, key, how, longer, vocabulary, data) -> None:
    row_length = shortest_row(vocabulary) + longer
    table = Documents.from_documents(documents, np.uint16)
    order = np.random.default_rng(key % 2**32).permutation(len(documents))
    block = packed(table, order, key, how, row_length, vocabulary)
    sequences = [visit_document(documents[index], key, how, vocabulary) for index in order]
    tokens, bounds, padding = reference_rows(sequences, block.num_rows, row_length, vocabulary)

    whole = block.rows(0, block.num_rows)
    assert whole.tokens.tolist() == tokens
    assert whole.cu_seqlens.tolist() == bounds
    assert whole.padding.tolist() == padding

    first = data.draw(st.integers(0, block.num_rows - 1))
    end = data.draw(st.integers(first + 1, block.num_rows))
    assert block.rows(first, end).tokens.tolist() == tokens[first:end]


MARKERS_OF_CODEC = DELAYED[0].opened_by()


def steps_of(tokens: list[int], delays: tuple[int, ...]) -> list[int]:
    """Tokens of a part of a row with each stretch of speech in steps, one at a time."""
    out: list[int] = []
    stretch: list[int] = []
    for token in [*tokens, -1]:
        if 52 <= token < 76:
            stretch.append(token)
            continue
        assert len(stretch) % 3 == 0  # no frame is cut
        held = [stretch[place : place + 3] for place in range(0, len(stretch), 3)]
        for step in range(len(held) + max(delays)):
            out += [held[step - d][book] for book, d in enumerate(delays) if 0 <= step - d < len(held)]
        stretch = []
        out.append(token)
    return out[:-1]


@settings(max_examples=200, deadline=None)
@given(codec_documents, st.integers(0, 2**64 - 1), options, st.integers(0, 30), st.sampled_from(DELAYED), st.data())
def test_each_stretch_in_each_row_has_its_own_steps(documents, key, how, longer, vocabulary, data) -> None:
    plain = replace(vocabulary, streams=delayed([CODEC], 0))
    row_length = shortest_row(vocabulary) + longer
    table = Documents.from_documents(documents, np.uint16)
    order = np.random.default_rng(key % 2**32).permutation(len(documents))
    block = packed(table, order, key, how, row_length, vocabulary)
    rows = block.rows(0, block.num_rows)
    bounds, said = rows.cu_seqlens.tolist(), rows.tokens.reshape(-1).tolist()
    segments = [said[a:b] for a, b, pad in zip(bounds, bounds[1:], rows.padding, strict=False) if not pad]
    # Without delays the same sequence, cut between frames: opened again, and each stretch in steps of its own.
    sequences = [visit_document(documents[index], key, how, plain) for index in order]
    stream = [(token, number, place) for number, one in enumerate(sequences) for place, token in enumerate(one)]
    cuts = block.cuts(0, block.num_rows).tolist()
    even = [row * len(stream) // block.num_rows for row in range(block.num_rows + 1)]
    assert all(0 <= late - early < 3 for late, early in zip(even, cuts, strict=True))
    expected = []
    for a, b in zip(cuts, cuts[1:], strict=False):
        for number, group in groupby(stream[a:b], key=lambda item: item[1]):
            part = list(group)
            opening = []
            if part[0][2] > 0:
                opening = [*vocabulary.opening]
                if part[0][0] not in MARKERS_OF_CODEC:
                    before = [token for token in sequences[number][: part[0][2]] if token in MARKERS_OF_CODEC][-1]
                    opening.append(vocabulary.marker(vocabulary.opened_by()[before]))
            expected.append(steps_of([*opening, *(token for token, _, _ in part)], vocabulary.layout.delays))
    assert segments == expected
    first = data.draw(st.integers(0, block.num_rows - 1))
    assert block.rows(first, block.num_rows).tokens.tolist() == rows.tokens[first:].tolist()


def test_parts_of_frames_are_refused_where_codebooks_are_delayed() -> None:
    table = Documents.from_documents([Document(1, [WordIds([1], [52, 60])])])
    with pytest.raises(ValueError, match="must hold whole frames of speech, but hold parts of some"):
        packed(table, np.arange(1), 1, Interleaving(mode="speech"), 20, DELAYED[0])


def test_spans_alternate_and_keep_to_their_lengths() -> None:
    vocabulary = Vocabulary.spirit_lm(num_text=10_000, num_units=10_000)
    words = [WordIds([index], [vocabulary.bounds(UNIT)[0] + index]) for index in range(5_000)]
    how = Interleaving(text_span=(10, 30), speech_span=(5, 15))
    tokens = visit_document(Document(7, words), 3, how, vocabulary)
    places = [
        place for place, token in enumerate(tokens) if token in (vocabulary.text_marker, vocabulary.speech_marker)
    ]
    assert [tokens[a] != tokens[b] for a, b in zip(places, places[1:], strict=False)] == [True] * (len(places) - 1)
    lengths = {vocabulary.text_marker: set(), vocabulary.speech_marker: set()}
    for place, following in zip(places, places[1:], strict=False):
        lengths[tokens[place]].add(following - place - 1)
    assert lengths == {vocabulary.text_marker: set(range(10, 31)), vocabulary.speech_marker: set(range(5, 16))}
    said = [token % (vocabulary.num_text + 2) for token in tokens if token not in lengths]
    assert said == list(range(5_000))  # every word once, in order, in one modality


ONE, TWO = WordIds([5], [52]), WordIds([6, 7], [53])
TEXT, SPEECH, ASR, TTS = 50, 51, 72, 73


@pytest.mark.parametrize(
    ("mode", "allowed"),
    [
        ("text", [[TEXT, 5, 6, 7, 2]]),
        ("speech", [[SPEECH, 52, 53, 2]]),
        ("none", [[TEXT, 5, 6, 7, 2], [SPEECH, 52, 53, 2]]),
        ("asr_tts", [[SPEECH, 52, 53, ASR, 5, 6, 7, 2], [TEXT, 5, 6, 7, TTS, 52, 53, 2]]),
        ("word_level", [[TEXT, 5, SPEECH, 52, TEXT, 6, 7, SPEECH, 53, 2]]),
        ("interleaved", [[TEXT, 5, SPEECH, 53, 2], [SPEECH, 52, TEXT, 6, 7, 2]]),
    ],
)
def test_one_end_stands_after_a_document_whatever_it_ends_in(mode: Mode, allowed: list[list[int]]) -> None:
    how = Interleaving(mode=mode, text_span=(1, 1), speech_span=(1, 1))
    ended = replace(VOCABULARY, end_of_document=2)
    found = [visit_document(Document(key, [ONE, TWO]), 0, how, ended) for key in range(20)]
    assert sorted(map(tuple, allowed)) == sorted(set(map(tuple, found)))
    opened = replace(ended, begin_of_document=1)
    assert [[1, *tokens] for tokens in found] == [
        visit_document(Document(key, [ONE, TWO]), 0, how, opened) for key in range(20)
    ]
    assert visit_document(Document(0, [WordIds([], [])]), 0, how, opened) == []
