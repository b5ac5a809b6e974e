from pathlib import Path

import pytest
import torch
from matplotlib.colors import to_hex

from spiritlm_pl.evaluation.plots import comparison_figure, contour_figure, spectrogram_figure

TONE = torch.sin(torch.arange(8000) * 0.1)  # 255 Hz at 16 kHz


def test_spectrograms_of_anything() -> None:
    long_title = "word " * 50
    figure = spectrogram_figure({"tone": TONE, long_title: torch.zeros(10)}, 16_000, split=0.2, f0=True)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles[0] == "tone" and len(titles[1]) <= 100 and titles[1].endswith(" ...")
    contours = [axes.lines[0].get_ydata() for axes in figure.axes if axes.get_ylabel() == "F0, Hz"]
    assert torch.as_tensor(contours[0]).nanmedian().item() == pytest.approx(16_000 * 0.1 / (2 * torch.pi), rel=0.02)
    with pytest.raises(ValueError, match="waveforms must hold at least one"):
        spectrogram_figure({}, 16_000)


def test_titles_are_no_formulas(tmp_path: Path) -> None:
    for title in ("after $_$", "50 $%$ off", r"$\frac$"):
        spectrogram_figure({title: TONE}, 16_000).savefig(tmp_path / "a.png")
        contour_figure({"original": torch.tensor([100.0, torch.nan])}, 200.0, title).savefig(tmp_path / "b.png")


def test_contours_lie_over_each_other() -> None:
    figure = contour_figure({"original": torch.arange(10.0), "made": torch.arange(5.0)}, 200.0, "x")
    lines = figure.axes[0].lines
    assert [len(line.get_ydata()) for line in lines] == [10, 5]
    assert len(contour_figure({str(i): torch.arange(5.0) for i in range(7)}, 200.0).axes[0].lines) == 7
    assert lines[0].get_xdata()[-1] == pytest.approx(9 / 200)


def test_bars_stand_for_their_values() -> None:
    figure = comparison_figure(["a", "b"], {"x": [1, 2], "y": [3, 4]}, {"x": [(0.5, 1.5), (2, 2)]}, references=[2, 3])
    assert [bar.get_height() for bar in figure.axes[0].patches] == [1, 2, 3, 4]
    (marks,) = [one for one in figure.axes[0].collections if one.get_label() == "chance"]
    assert [segment[0][1] for segment in marks.get_segments()] == [2, 3]
    figure = comparison_figure(["a"], {"x": [1], "y": [3]}, colours=["#010101", "#020202"])
    assert [to_hex(bar.get_facecolor()) for bar in figure.axes[0].patches] == ["#010101", "#020202"]
    with pytest.raises(ValueError, match="series x must have 1 values, but has 2"):
        comparison_figure(["a"], {"x": [1, 2]})
    with pytest.raises(ValueError, match="series guess must have 1 values, but has 2"):
        comparison_figure(["a"], {"x": [1]}, references=[1, 2], reference="guess")
