"""Ratios of sums with their intervals, by hand."""

import pytest

from spiritlm_pl.benchmarks.averages.ratios import ratio, ratios
from spiritlm_pl.benchmarks.items import AnswerLine
from spiritlm_pl.evaluation.interval import wilson_interval


def line(number: int, counts: dict[str, tuple[float, float]], **labels: str) -> AnswerLine:
    return AnswerLine(str(number), dict(labels), counts, {})


def test_right_answers_have_wilsons_interval() -> None:
    found = ratio("all", [line(number, {"exact": (number < 3, 1)}) for number in range(4)], "exact")
    assert found is not None and found.value == 75 and found.count == 4
    assert (found.low, found.high) == tuple(100 * end for end in wilson_interval(3, 4))


def test_errors_are_divided_by_all_words() -> None:
    lines = [line(0, {"plain": (1, 4)}), line(1, {"plain": (3, 6)}), line(2, {"other": (1, 1)})]
    found = ratio("all", lines, "plain")
    assert found is not None and found.value == pytest.approx(40) and found.count == 2
    assert found.low is not None and found.high is not None and found.low <= 40 <= found.high
    assert ratio("all", lines, "none") is None


def test_figures_by_label_follow_those_of_all() -> None:
    lines = [line(number, {"exact": (number % 2, 1)}, split="ab"[number // 4]) for number in range(6)]
    found = ratios(lines, "split")["exact"]
    assert [(one.name, one.value, one.count) for one in found] == [
        ("all", 50, 6),
        ("split/a", 50, 4),
        ("split/b", 50, 2),
    ]
