"""The one stream of tokens, built and taken apart."""

import pytest

from spiritlm_pl.generation.stream import Segment, decode_tokens, encode_segments
from spiritlm_pl.vocabulary import Modality, Vocabulary

VOCABULARY = Vocabulary(num_text=10, num_units=30)
TEXT, SPEECH, UNIT = 10, 11, 12


def text(*values):
    return Segment(Modality.TEXT, values)


def speech(*values):
    return Segment(Modality.SPEECH, values)


@pytest.mark.parametrize(
    ("segments", "output", "tokens"),
    [
        ([text(1, 2)], "any", [TEXT, 1, 2]),
        ([text(1), text(2)], "text", [TEXT, 1, 2]),
        ([text(1), speech(0, 3)], "any", [TEXT, 1, SPEECH, UNIT, UNIT + 3]),
        ([text(1)], "speech", [TEXT, 1, SPEECH]),
        ([speech(1)], "text", [SPEECH, UNIT + 1, TEXT]),
        ([speech(1)], "speech", [SPEECH, UNIT + 1]),
        ([text(), speech(1)], "any", [SPEECH, UNIT + 1]),
    ],
)
def test_a_modality_token_opens_and_marks_every_change(segments, output, tokens):
    assert encode_segments(segments, VOCABULARY, output) == tokens


def test_nothing_is_no_prompt():
    with pytest.raises(ValueError, match="empty"):
        encode_segments([text()], VOCABULARY)


def test_answers_are_split_where_the_modality_changes():
    tokens = [1, 2, SPEECH, UNIT, UNIT + 1, UNIT + 1, TEXT, 3]
    assert decode_tokens(tokens, VOCABULARY, Modality.TEXT) == [text(1, 2), speech(0, 1), text(3)]


def test_short_speech_is_dropped_unless_it_continues_the_prompt():
    tokens = [UNIT, TEXT, 4, SPEECH, UNIT + 1, UNIT + 2, TEXT, 5]
    assert decode_tokens(tokens, VOCABULARY, Modality.SPEECH, 3) == [speech(0), text(4), text(5)]
    kept = decode_tokens(tokens, VOCABULARY, Modality.SPEECH, 2)
    assert kept == [speech(0), text(4), speech(1, 2), text(5)]


def test_padding_rows_and_strays_are_no_content():
    assert decode_tokens([1, UNIT, VOCABULARY.num_tokens, 2], VOCABULARY, Modality.TEXT) == [text(1, 2)]
