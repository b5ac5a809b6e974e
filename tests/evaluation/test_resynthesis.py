"""The measures of a resynthesis: identical audio is perfect, other audio is not, input is checked."""

import math

import pytest
import torch

from spiritlm_pl.evaluation.resynthesis import Resynthesis, evaluate_resynthesis


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


def test_report_is_plain_and_input_is_checked() -> None:
    pairs = [Resynthesis(id="a", text="press one", original=tone(120.0), made=tone(120.0))]
    plain = evaluate_resynthesis(pairs).as_dict()
    assert set(plain["recognition"]["pocketsphinx"]) == {"original", "resynthesis"}
    assert "word_accuracy" in plain["recognition"]["pocketsphinx"]["original"]
    with pytest.raises(ValueError, match="pairs must hold at least one utterance"):
        evaluate_resynthesis([])


def test_nothing_is_recognised_without_transcripts() -> None:
    report = evaluate_resynthesis([Resynthesis(id="a", text="", original=tone(120.0), made=tone(120.0))])
    assert report.recognition == {} and report.mel_distance == 0
