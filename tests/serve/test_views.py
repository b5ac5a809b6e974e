"""What is shown: tokens, turns, answers, pictures; and what is read: audio, printed tokens."""

import numpy as np
import pytest
import soundfile
import torch

from spiritlm_pl.generation import Speech, Text
from spiritlm_pl.generation.prompt import parse_speech
from spiritlm_pl.generation.stream import speech_string
from spiritlm_pl.serve.allowlist import Allowlist
from spiritlm_pl.serve.audio import decode_audio, encode_wav
from spiritlm_pl.serve.components import CUT_OFF, NOTHING, answer_speech, answer_text, turn_html
from spiritlm_pl.serve.pictures import outline, speech_figure
from spiritlm_pl.serve.token_view import COLOURS, STREAM_COLOURS, Token, named_tokens, tokens_css, tokens_html
from spiritlm_pl.streams import PITCH, STYLE, UNIT
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=30, num_units=20, num_pitches=4, num_styles=5, multiple_of=64)
EVIL = "<script>alert(1)</script>&\"'"


class Letters:
    def decode(self, ids):
        return "".join(chr(ord("a") + token) for token in ids)


def test_printed_tokens_are_read_back():
    tokens = (VOCABULARY.bounds(STYLE)[0] + 4, VOCABULARY.bounds(PITCH)[0], *range(VOCABULARY.bounds(UNIT)[0], 40))
    printed = speech_string(tokens, VOCABULARY)
    assert parse_speech(printed, VOCABULARY) == tokens
    assert parse_speech(printed.replace("][", "]\n ["), VOCABULARY) == tokens


def test_every_kind_is_named_and_has_a_colour():
    ids = [0, 1, VOCABULARY.text_marker, VOCABULARY.speech_marker, VOCABULARY.bounds(UNIT)[0], 52, 56]
    named = named_tokens(ids, VOCABULARY, Letters())
    assert [token.name for token in named] == ["a", "b", "[Text]", "[Speech]", "[Hu0]", "[Pi0]", "[St0]"]
    kinds = ["text", "text", "modality", "modality", "unit", "pitch", "style"]
    assert [token.kind for token in named] == kinds
    html = tokens_html(named)
    colours = COLOURS | dict(zip((UNIT, PITCH, STYLE), STREAM_COLOURS, strict=False))
    for kind in set(kinds):
        assert f'<span class="token {kind}">{kind} {kinds.count(kind)}</span>' in html
        assert f".token.{kind} {{background: {colours[kind]}}}" in tokens_css(VOCABULARY)


def test_what_somebody_wrote_is_never_html():
    assert "<script>" not in tokens_html([Token(0, "text", EVIL)]) and "&lt;script&gt;" in tokens_html(
        [Token(0, "text", EVIL)]
    )
    shown = turn_html(1, ("user", Text(EVIL)))
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "text of user" in shown


def test_an_answer_in_words_and_sound():
    first, second = Speech(torch.full((1600,), 0.1)), Speech(torch.full((800,), 0.2))
    pieces = [Text("a cat"), first, Text("ran"), second, Speech(tokens=(32, 33))]
    lines = answer_text(pieces, "stop").splitlines()
    assert lines[:4] == ["a cat", "[speech, 0.1 s]", "ran", "[speech, 0.1 s]"] and "2 tokens" in lines[4]
    rate, waveform = answer_speech(pieces)
    assert rate == 16_000 and torch.equal(waveform, torch.cat([first.audio, second.audio]))
    assert answer_speech([Text("a")]) is None and answer_text([], "stop") == NOTHING
    assert answer_text(pieces, "length").splitlines() == [*lines, CUT_OFF] and answer_text([], "length") == CUT_OFF


@pytest.mark.parametrize("samples", [1, 100, 16_000, 16_001])
def test_the_outline_holds_every_peak(samples):
    waveform = torch.randn(samples, generator=torch.Generator().manual_seed(0)) / 10
    lowest, highest = outline(waveform, columns=50)
    assert lowest.min() == waveform.min() and highest.max() == waveform.max()
    assert len(lowest) == len(highest) <= 50
    above, below = speech_figure(waveform, 16_000).axes
    assert below.get_xlim() == (0, samples / 16_000)


def test_a_picture_of_nothing_is_refused():
    with pytest.raises(ValueError, match="must hold samples, but is empty"):
        speech_figure(torch.zeros(0), 16_000)


def test_a_wav_file_comes_back_as_it_was():
    waveform = torch.linspace(-1.2, 1.2, 1000)
    again, rate = decode_audio(encode_wav(waveform, 22_050), 1.0)
    assert rate == 22_050 and again.shape == (1, 1000)
    torch.testing.assert_close(again[0], waveform.clamp(-1, 1), atol=1e-4, rtol=0)


def test_a_header_that_promises_less_than_there_is_does_not_help(tmp_path):
    soundfile.write(tmp_path / "long.mp3", np.zeros(160_000), 16_000, format="MP3")
    with pytest.raises(ValueError, match="at most 1 s, but lasts"):
        decode_audio((tmp_path / "long.mp3").read_bytes(), 1.0)


@pytest.mark.parametrize(
    ("path", "is_open"),
    [
        ("/", True),
        ("/assets/index.js", True),
        ("/api/generate", True),
        ("/gradio_api/queue/join", True),
        ("/gradio_api/file=/served/page/ab/audio.wav", True),
        ("/gradio_api/file=/served/page", False),
        ("/gradio_api/file=/served/page/../secret", False),
        ("/gradio_api/file=/served/page2/secret", False),
        ("/gradio_api/file=served/page/a", False),
        ("/gradio_api/file=http://a/served/page/a", False),
        ("/gradio_api/queue/join/../../vibe-edit", False),
        ("/gradio_api/run/predict", False),
        ("/static/../a", False),
        ("/\n", False),
    ],
)
def test_doors(tmp_path, path, is_open):
    from pathlib import Path

    assert Allowlist(None, Path("/served/page")).is_open(path) is is_open
