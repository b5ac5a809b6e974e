"""Streams of speech tokens: what they refuse, and dictionaries there and back."""

import json
from dataclasses import replace

import pytest

from spiritlm_pl.streams import RESERVED, SpeechLayout, Stream, delayed, differences, spirit_lm_streams
from spiritlm_pl.vocabulary import Vocabulary

CODEC = Stream(name="codec", prefix="Co", size=16, rate=12.5, num_codebooks=3, deduplicated=False)


@pytest.mark.parametrize("name", ["text", "units", "end", "custom", "pitches", "not one"])
def test_names_that_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name of a stream must be an identifier, and none that means something else"):
        Stream(name=name, prefix="Xx", size=3)
    assert name in RESERVED or not name.isidentifier()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 0}, r"size of stream codec must be in \[1, 65536\], but is 0"),
        ({"num_codebooks": 0}, "num_codebooks of stream codec must be at least 1, but is 0"),
        ({"deduplicated": True}, "stream codec with 3 codebooks must not be deduplicated"),
        ({"rate": 0.0}, "rate of stream codec must be above 0, but is 0"),
        ({"prefix": "Text"}, "prefix of stream codec must be letters of its own, but is 'Text'"),
        ({"size": 16.0}, "size of stream codec must be a whole number, but is 16.0"),
        ({"order": True}, "order of stream codec must be a whole number, but is True"),
        ({"delays": (0, 1, 2.5)}, r"delays\[2\] of stream codec must be a whole number, but is 2.5"),
        ({"deduplicated": 0}, "deduplicated of stream codec must be true or false, but is 0"),
        ({"delays": (0, 1)}, r"delays of stream codec must be 3 numbers .* but are \[0, 1\]"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stream(**{**vars(CODEC), **values})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["num_text", "num_tasks", "multiple_of", "begin_of_document", "end_of_document"])
@pytest.mark.parametrize("value", [-0.0, 2.0, False, "1"])
def test_ids_and_sizes_of_a_vocabulary_are_whole_numbers(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} of the vocabulary must be a whole number, but is {value!r}"):
        Vocabulary(**{name: value})  # type: ignore[arg-type]


def test_delays_begin_with_none_and_grow() -> None:
    assert [stream.delays for stream in delayed([CODEC], 2)] == [(0, 2, 4)]
    assert delayed([CODEC], None) == (CODEC,) and delayed(delayed([CODEC], 2), 0) == (CODEC,)
    with pytest.raises(ValueError, match=r"delays of streams must begin with 0 .* but are \[1, 0, 0\]"):
        SpeechLayout((Stream(**{**vars(CODEC), "delays": (1, 0, 0)}),))
    with pytest.raises(ValueError, match="codebook_delay must be 0 for streams other than a neural codec's, but is 1"):
        delayed(spirit_lm_streams(5), 1)
    with pytest.raises(ValueError, match="codebook_delay must be at least 0, but is -1"):
        delayed([CODEC], -1)
    assert SpeechLayout(delayed([CODEC], 2)).delays == (0, 2, 4)
    assert SpeechLayout((CODEC,)).delays == SpeechLayout((replace(CODEC, delays=(0, 0, 0)),)).delays == ()
    units = (replace(CODEC, delays=(0, 1, 2)), Stream(name="other", prefix="Ot", size=3, rate=50.0))
    with pytest.raises(ValueError, match="delays of streams must be left out where not all streams are frames"):
        SpeechLayout(units)


@pytest.mark.parametrize(
    "streams",
    [spirit_lm_streams(9), spirit_lm_streams(9, 4, 3, 50.0), delayed([CODEC], 1)],
    ids=["base", "all", "codec"],
)
def test_dictionaries_come_back(streams: tuple[Stream, ...]) -> None:
    vocabulary = Vocabulary(num_text=7, streams=streams, end_of_document=2)
    assert Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict()))) == vocabulary
    layout = SpeechLayout(streams)
    assert SpeechLayout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout


def test_delays_in_files_say_that_they_are_within_stretches() -> None:
    assert "delays_within" not in SpeechLayout((CODEC,)).to_dict()["streams"][0]  # files without delays are as before
    (stream,) = SpeechLayout(delayed([CODEC], 1)).to_dict()["streams"]
    assert stream.pop("delays_within") == "stretch"
    with pytest.raises(
        ValueError, match="delays of stream codec must be within each stretch of speech, but run through"
    ):
        SpeechLayout.from_dict({"streams": [stream]})


def test_files_of_spirit_lm_say_sizes_alone_as_before() -> None:
    expected = {"num_text": 7, "num_units": 9, "num_pitches": 4, "num_styles": 3, "num_tasks": 0, "multiple_of": 256}
    found = Vocabulary.spirit_lm(num_text=7, num_units=9, num_pitches=4, num_styles=3).to_dict()
    assert found == {**expected, "begin_of_document": None, "end_of_document": None}
    assert list(SpeechLayout.spirit_lm(9, 25.0).to_dict()) == ["num_units", "frame_rate", "num_pitches", "num_styles"]
    assert (
        repr(SpeechLayout.spirit_lm(9, 25.0))
        == "SpeechLayout(num_units=9, frame_rate=25.0, num_pitches=0, num_styles=0)"
    )


def test_a_tokenizer_without_a_rate_is_told() -> None:
    with pytest.raises(ValueError, match="rate of stream unit must be given by its tokenizer, but is None"):
        _ = SpeechLayout(spirit_lm_streams(5)).frame_rate


def test_a_file_of_a_later_version_is_told() -> None:
    description = SpeechLayout((CODEC,)).to_dict()
    description["streams"][0]["colour"] = "blue"
    with pytest.raises(ValueError, match="streams must be described by some of name, prefix, .* but are not: .*colour"):
        SpeechLayout.from_dict(description)


def test_messages_name_what_differs_and_nothing_else() -> None:
    one, finer = SpeechLayout((CODEC,)), SpeechLayout((replace(CODEC, rate=75.0),))
    assert differences(one.to_dict(), finer.to_dict()) == ("rate of codec=12.5", "rate of codec=75.0")
    other = SpeechLayout((replace(CODEC, name="mimi"), replace(CODEC, name="more", prefix="Mo")))
    assert differences(one.to_dict(), other.to_dict()) == ("streams=codec", "streams=mimi and more")
    units = [SpeechLayout.spirit_lm(size, 25.0).to_dict() for size in (5, 6)]
    assert differences(*units) == ("num_units=5", "num_units=6")
