"""The one stream of tokens, built and taken apart."""

import pytest

from spiritlm_pl import streams
from spiritlm_pl.generation.stream import Segment, decode_tokens, encode_segments, speech_codes, speech_string
from spiritlm_pl.generation.types import Speech, Text
from spiritlm_pl.vocabulary import Modality, Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=10, num_units=30)
TEXT, SPEECH, UNIT = 10, 11, 12
WITH_TASKS = Vocabulary.spirit_lm(num_text=10, num_units=30, num_tasks=2)
ASR, TTS = 42, 43


def text(*values):
    return Segment(Modality.TEXT, values)


def speech(*units):
    return Segment(Modality.SPEECH, tuple(UNIT + unit for unit in units))


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
    assert decode_tokens(tokens, VOCABULARY) == [text(1, 2), speech(0, 1), text(3)]


def test_short_speech_is_dropped_unless_it_comes_first_and_continues_none():
    tokens = [UNIT, TEXT, 4, SPEECH, UNIT + 1, UNIT + 2, TEXT, 5]
    assert decode_tokens(tokens, VOCABULARY, 3) == [speech(0), text(4), text(5)]
    assert decode_tokens(tokens, VOCABULARY, 2) == [speech(0), text(4), speech(1, 2), text(5)]
    assert decode_tokens(tokens, VOCABULARY, 2, continues=True) == [text(4), speech(1, 2), text(5)]


def test_what_a_token_is_tells_its_modality():
    tokens = [1, UNIT, VOCABULARY.num_tokens, 2]  # a padding row is no content
    assert decode_tokens(tokens, VOCABULARY) == [text(1), speech(0), text(2)]
    assert decode_tokens([1, TEXT, 2, SPEECH, UNIT, SPEECH, TEXT, UNIT + 1], VOCABULARY) == [text(1, 2), speech(0, 1)]


@pytest.mark.parametrize(
    ("segments", "output", "tokens"),
    [
        ([text(1)], "any", [TEXT, 1]),
        ([text(1)], "speech", [TEXT, 1, TTS]),
        ([speech(1)], "text", [SPEECH, UNIT + 1, ASR]),
        ([speech(1)], "speech", [SPEECH, UNIT + 1]),
        ([text(1), speech(2)], "any", [TEXT, 1, TTS, UNIT + 2]),
        ([speech(2), text(1)], "text", [SPEECH, UNIT + 2, ASR, 1]),
    ],
)
def test_task_markers_stand_at_the_changes(segments, output, tokens):
    assert [WITH_TASKS.name(token) for token in (ASR, TTS)] == ["[ASR]", "[TTS]"]
    assert encode_segments(segments, WITH_TASKS, output) == tokens


def test_task_markers_change_the_modality():
    assert decode_tokens([1, 2, TTS, UNIT, UNIT + 1], WITH_TASKS) == [text(1, 2), speech(0, 1)]
    assert decode_tokens([UNIT, ASR, 3, SPEECH, UNIT], WITH_TASKS) == [speech(0), text(3), speech(0)]
    assert decode_tokens([1, ASR, 2], VOCABULARY) == [text(1, 2)]  # no task markers, padding rows


@pytest.mark.parametrize("num_tasks", [-1, 1, 3])
def test_there_are_two_tasks_or_none(num_tasks):
    with pytest.raises(ValueError, match=f"num_tasks must be 0 or 2, but is {num_tasks} instead"):
        Vocabulary(num_tasks=num_tasks)


EXPRESSIVE = Vocabulary.spirit_lm(num_text=10, num_units=30, num_pitches=4, num_styles=5)


def expressive(string):
    """Ids of a string such as "S1 P2 U3 U4"."""
    offsets = {
        "U": EXPRESSIVE.bounds(streams.UNIT)[0],
        "P": EXPRESSIVE.bounds(streams.PITCH)[0],
        "S": EXPRESSIVE.bounds(streams.STYLE)[0],
    }
    return [offsets[word[0]] + int(word[1:]) for word in string.split()]


def test_pitch_and_style_stay_among_the_units():
    tokens = [*expressive("S1 P2 U3 U3 P3 U3 U4"), TEXT, 5, SPEECH, *expressive("P1 S2")]
    first, text_part = decode_tokens(tokens, EXPRESSIVE)  # speech without a unit is none
    assert first == Segment(Modality.SPEECH, tuple(expressive("S1 P2 U3 P3 U4"))) and text_part == text(5)
    assert speech_string(first.tokens, EXPRESSIVE) == "[St1][Pi2][Hu3][Pi3][Hu4]"
    units, pitches, styles = speech_codes(first.tokens, EXPRESSIVE)
    assert (units.tolist(), pitches.tolist(), styles.tolist()) == ([3, 4], [2, 3], [1, 1])


def test_short_speech_is_counted_in_units():
    tokens = [SPEECH, *expressive("S0 P1 U1 P2 U2 P3"), TEXT, 5]
    assert decode_tokens([1, *tokens], EXPRESSIVE, 3) == [text(1), text(5)]
    assert len(decode_tokens([1, *tokens], EXPRESSIVE, 2)) == 3


@pytest.mark.parametrize("token", [0, 10**9, -1])
def test_tokens_that_are_no_speech_are_not_spoken(token: int) -> None:
    unit = EXPRESSIVE.token(streams.UNIT, 3)
    with pytest.raises(ValueError, match=rf"tokens must be of speech \(unit, pitch, style\), but {token} is not"):
        speech_codes([unit, token], EXPRESSIVE)


def test_pieces_check_what_they_are_given() -> None:
    with pytest.raises(ValueError, match="text must be a string, but is 5 instead"):
        Text(5)
    with pytest.raises(ValueError, match="sample_rate must be at least 1 Hz, but is 0 instead"):
        Speech(sample_rate=0)
