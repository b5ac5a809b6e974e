"""F0 of a resynthesis beside that of its original, also where there is little voice."""

import math

import pytest
import torch

from spiritlm_pl.evaluation.contours import Contour, contour_errors, extract_contour, log_f0_correlation
from spiritlm_pl.f0.extractors import YIN

ROW = torch.linspace(100.0, 200.0, 60)
ALL = torch.ones(60, dtype=torch.bool)


def test_the_same_contour_has_no_errors() -> None:
    contour = Contour(ROW, ALL)
    figures = contour_errors(contour, contour).figures()
    assert figures["f0_frame_error"] == 0 and figures["f0_rmse_cents"] == 0
    assert log_f0_correlation(contour, contour) == pytest.approx(1.0)
    assert log_f0_correlation(Contour(ROW.flip(0), ALL), contour) == pytest.approx(-1.0, abs=0.1)


def test_the_shorter_one_counts() -> None:
    made = Contour(torch.cat([ROW[:30], torch.full((10,), 500.0)]), torch.ones(40, dtype=torch.bool))
    figures = contour_errors(made, Contour(ROW, ALL)).figures()
    assert figures["f0_frame_error"] == pytest.approx(10 / 40) and figures["voicing_error"] == 0


def test_errors_of_voice_and_of_f0_add_up() -> None:
    voiced = ALL.clone()
    voiced[:15] = False
    figures = contour_errors(Contour(torch.where(voiced, 1.3 * ROW, 0.0), voiced), Contour(ROW, ALL)).figures()
    assert figures["voicing_error"] == pytest.approx(0.25) and figures["f0_frame_error"] == 1.0
    assert figures["f0_rmse_cents"] == pytest.approx(1200 * math.log2(1.3), rel=1e-3)


def test_without_voice_nothing_follows() -> None:
    silent = Contour(torch.zeros(60), torch.zeros(60, dtype=torch.bool))
    contour = Contour(ROW, ALL)
    assert silent.mean_log() is None and log_f0_correlation(silent, contour) is None
    assert log_f0_correlation(Contour(torch.full((60,), 100.0), ALL), contour) is None  # F0 that stands still
    assert contour_errors(silent, contour).figures()["voicing_error"] == 1.0
    assert contour.mean_log() == pytest.approx(float(ROW.log2().mean()), abs=1e-4)
    assert silent.drawn().isnan().all() and not contour.drawn().isnan().any()


def test_a_waveform_has_its_f0() -> None:
    tone = 0.1 * torch.sin(2 * math.pi * 150 * torch.arange(16_000) / 16_000)
    contour = extract_contour(YIN(), tone)
    assert contour.hertz.shape == contour.voiced.shape == (201,)
    assert contour.mean_log() == pytest.approx(math.log2(150), abs=0.01)
