"""The judges of a resynthesis: identical audio is perfect, noise is not, and the language model is a distribution."""

import math
from pathlib import Path

import pytest
import torch

from spiritlm_pl.evaluation.resynthesis import (
    RecognitionScore,
    Resynthesis,
    bigram_arpa,
    evaluate_resynthesis,
    normalise,
    pocketsphinx_recogniser,
    recognition_score,
    whisper_recogniser,
)


def tone(f0: float) -> torch.Tensor:
    times = torch.arange(16_000) / 16_000
    return 0.1 * sum((torch.sin(2 * math.pi * f0 * k * times) / k for k in range(1, 8)), torch.zeros(()))


def test_the_original_is_its_own_best_resynthesis() -> None:
    pairs = [Resynthesis(id=str(f0), text="a tone", original=tone(f0), made=tone(f0)) for f0 in (120.0, 200.0)]
    report = evaluate_resynthesis(pairs, pocketsphinx=False)
    assert report.num_utterances == 2 and report.seconds == pytest.approx(2.0)
    assert report.mel_distance == 0 and report.f0_error_semitones == 0 and report.voicing_error == 0
    worse = [Resynthesis(id="x", text="a tone", original=tone(200.0), made=tone(224.5)[:-300])]
    report = evaluate_resynthesis(worse, pocketsphinx=False)
    assert report.mel_distance > 0.1 and report.f0_error_semitones == pytest.approx(2.0, abs=0.1)


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
    torch.manual_seed(0)
    heard = recognise(0.1 * torch.randn(16_000))
    assert set(normalise(heard).split()) <= {"press", "one", "goodbye"}


def test_report_is_plain_and_input_is_checked(tmp_path: Path) -> None:
    pairs = [Resynthesis(id="a", text="press one", original=tone(120.0), made=tone(120.0))]
    plain = evaluate_resynthesis(pairs).as_dict()
    assert set(plain["recognition"]["pocketsphinx"]) == {"original", "resynthesis"}
    assert "word_accuracy" in plain["recognition"]["pocketsphinx"]["original"]
    with pytest.raises(ValueError, match="pairs must hold at least one utterance"):
        evaluate_resynthesis([])
    with pytest.raises(ValueError, match="whisper_folder must be a folder"):
        whisper_recogniser(tmp_path / "missing")


def test_text_is_compared_as_words() -> None:
    assert normalise("You’re  Number 4, PRESS: one.") == "you're number 4 press one"
