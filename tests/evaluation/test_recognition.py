"""Recognisers: rates are pooled, the language model is a distribution, text is compared as words."""

from pathlib import Path

import pytest
import torch

from spiritlm_pl.evaluation.recognition import (
    Heard,
    RecognitionScore,
    bigram_arpa,
    hear,
    normalise,
    pocketsphinx_recogniser,
    pronunciations,
    recognisers,
    recognition_score,
)


def test_rates_are_pooled_over_words_and_characters() -> None:
    answers = iter(["Hello world!", "yes"])
    spoken = [(torch.zeros(1), "hello, world"), (torch.zeros(1), "no"), (torch.zeros(1), "...")]
    score = recognition_score(lambda waveform: next(answers), spoken)
    assert score.word_error_rate == pytest.approx(100 / 3)
    assert score.word_accuracy == pytest.approx(200 / 3)
    assert score.character_error_rate == pytest.approx(100 * 3 / 13)
    assert RecognitionScore(word_error_rate=150.0, character_error_rate=0.0).word_accuracy == 0


def test_bigrams_are_a_distribution() -> None:
    lines = bigram_arpa([["press", "one"], ["press", "two"]]).splitlines()
    unigrams = [line.split() for line in lines[lines.index("\\1-grams:") + 1 : lines.index("\\2-grams:") - 1]]
    assert sum(10 ** float(row[0]) for row in unigrams if row[1] != "<s>") == pytest.approx(1, abs=1e-3)
    after_press = [line.split() for line in lines if line.endswith(("press one", "press two"))]
    assert sum(10 ** float(row[0]) for row in after_press) == pytest.approx(0.5, abs=1e-3)  # the rest backs off


def test_pocketsphinx_hears_only_what_may_be_said() -> None:
    recognise = pocketsphinx_recogniser(["press one", "goodbye"])
    assert recognise is not None
    torch.manual_seed(0)
    heard = recognise(0.1 * torch.randn(16_000))
    assert set(normalise(heard).split()) <= {"press", "one", "goodbye"}


def test_text_is_compared_as_words() -> None:
    assert normalise("You’re  Number 4, PRESS: one.") == "you're number 4 press one"
    assert normalise("Straße, ŻÓŁW — нет!") == "strasse żółw нет" and normalise("हिन्दी") == "हिन्दी"
    assert normalise("soft\u00adhyphen می\u200cخواهم") == "softhyphen میخواهم"  # what nobody sees is no difference
    assert normalise("don´t don’t donʻt") == "don't don't don't"
    assert normalise("coŀlecció Ի՞նչ مـرحبا") == "collecció ինչ مرحبا" and normalise('צה"ל') == normalise("צה״ל")
    assert normalise("Z\u0307o\u0301łw") == normalise("Żółw")  # marks of their own, or not


def test_words_that_nobody_can_say_are_not_heard() -> None:
    assert pocketsphinx_recogniser(["zzyzxq", ""]) is None
    known = {"read": "R IY D", "read(2)": "R EH D"}
    assert list(pronunciations("read", known.get)) == ["read R IY D", "read(2) R EH D"]


def test_edits_of_one_utterance() -> None:
    pair = hear(lambda waveform: "press two too", torch.zeros(1), "Press one.")
    assert pair == Heard("press one", "press two too")
    assert (pair.word_edits(), pair.character_edits()) == (2, 6)
    assert hear(lambda waveform: "x", torch.zeros(1), "...") is None


@pytest.mark.parametrize(
    ("transcript", "heard", "language"),
    [
        ("she raised five million dollars", "She raised $5 million.", "en"),
        ("Chapter 20", "chapter twenty", "en"),
        ("twenty percent of doctor jones", "20% of Dr. Jones", "en"),
        ("in nineteen oh five", "In 1905", "en"),
        ("press pound, the first", "[beep] Press pound, the 1st.", "en"),
        ("ich habe zwanzig Katzen", "Ich habe 20 Katzen.", "de"),
        ("mam 5 kotów", "Mam 5 kotów!", "pl"),  # a number of which the reading is not known is one word, too
    ],
)
def test_how_a_number_is_written_is_no_error(transcript: str, heard: str, language: str) -> None:
    pair = hear(lambda waveform: heard, torch.zeros(1), transcript, language)
    assert pair is not None and pair.said == pair.heard
    assert recognition_score(lambda waveform: heard, [(torch.zeros(1), transcript)], language).word_error_rate == 0


def test_pocketsphinx_knows_the_words_of_numbers() -> None:
    assert pocketsphinx_recogniser(["20"]) is not None
    assert list(recognisers(["42"])) == ["pocketsphinx"]


def test_recognisers_by_name(tmp_path: Path) -> None:
    assert list(recognisers(["press one"])) == ["pocketsphinx"]
    assert recognisers(["press one"], pocketsphinx=False) == {} and recognisers(["", "..."]) == {}
    with pytest.warns(UserWarning, match="pocketsphinx knows none of these words and is left out"):
        assert recognisers(["żółw", "нет"]) == {}
    with pytest.raises(ValueError, match="whisper must be left out where there are no transcripts, but is x instead"):
        recognisers(["..."], whisper_folder="x")
    with pytest.raises(ValueError, match="whisper must be a folder"):
        recognisers(["one"], pocketsphinx=False, whisper_folder=tmp_path / "missing")
