"""Paired tests: exact probabilities by hand, and the right rate of false alarms."""

import random
import tracemalloc

import numpy as np
import pytest

from spiritlm_pl.benchmarks.averages import swuggy
from spiritlm_pl.benchmarks.averages.compare import compare, compare_ratios, exact_p_value
from spiritlm_pl.benchmarks.items import AnswerLine, ChoiceLine
from spiritlm_pl.evaluation import interval


def lines(points: list[float], voices: int = 1) -> list[ChoiceLine]:
    score = {1.0: (2.0, 1.0), 0.5: (1.0, 1.0), 0.0: (1.0, 2.0)}
    return [
        ChoiceLine(
            str(number),
            (f"r{number}", f"w{number}"),
            {"id": str(number // voices), "voice": str(number % voices)},
            {"mean": score[one]},
            (1, 1),
        )
        for number, one in enumerate(points)
    ]


@pytest.mark.parametrize(
    ("better", "worse", "wanted"),
    [(0, 0, 1.0), (5, 0, 2 / 32), (0, 5, 2 / 32), (3, 3, 1.0), (4, 1, 12 / 32), (2, 1, 1.0)],
)
def test_exact_probabilities(better: int, worse: int, wanted: float) -> None:
    assert exact_p_value(better, worse) == wanted


def test_large_numbers_are_exact_and_quick() -> None:
    assert exact_p_value(30_400, 29_600) == pytest.approx(0.00110, rel=0.02)
    assert exact_p_value(60_000, 0) == 0.0


def test_ties_count_as_items_on_which_the_models_differ() -> None:
    found = compare(lines([1, 1, 0.5, 0.5, 0, 1]), lines([0, 0.5, 0, 0.5, 0, 1]), "mean")
    assert (found.better, found.worse, found.count, found.test) == (3, 0, 6, "mcnemar")
    assert found.p_value == 2 / 8
    assert found.difference == pytest.approx(100 * 2 / 6)
    turned = compare(lines([0, 0.5, 0, 0.5, 0, 1]), lines([1, 1, 0.5, 0.5, 0, 1]), "mean")
    assert (turned.difference, turned.p_value) == (-found.difference, found.p_value)


def test_equal_models_do_not_differ() -> None:
    found = compare(lines([1, 0, 0.5]), lines([1, 0, 0.5]), "mean")
    assert (found.difference, found.p_value, found.low) == (0, 1, None)


def test_several_voices_are_tested_by_id() -> None:
    first, second = lines([1, 1, 1, 0] * 10, voices=2), lines([0, 1, 0, 0] * 10, voices=2)
    found = compare(first, second, "mean", swuggy.ID)
    assert (found.test, found.count, found.difference) == ("bootstrap", 20, 50)
    assert found.p_value < 0.001 and found.low is None  # every id differs by one half
    mixed = compare(first, lines([1, 1, 0, 0, 1, 1, 1, 1] * 5, voices=2), "mean", swuggy.ID)
    assert mixed.low is not None and mixed.high is not None and mixed.low < mixed.difference < mixed.high


@pytest.mark.parametrize("voices", [1, 4])
def test_equally_good_models_are_rarely_told_apart(voices: int) -> None:
    alarms = 0
    for seed in range(60):
        draw = random.Random(seed)
        first, second = (lines([float(draw.random() < 0.7) for _ in range(400)], voices) for _ in range(2))
        alarms += compare(first, second, "mean", swuggy.ID).p_value < 0.05
    assert alarms <= 8  # 3 by rights


def test_items_of_one_model_alone_are_counted_and_others_refused() -> None:
    assert compare(lines([1, 1, 0]), lines([1, 0]), "mean").unpaired == 1
    with pytest.raises(ValueError, match="share none"):
        compare(lines([1])[:1], lines([1, 0])[1:], "mean")
    other = ChoiceLine("0", ("r0", "w0"), {"id": "5"}, {"mean": (1.0, 2.0)}, (1, 1))
    with pytest.raises(ValueError, match="but 0 differs in its labels"):
        compare(lines([1]), [other], "mean")


def answers(counts: list[tuple[float, float]]) -> list[AnswerLine]:
    return [AnswerLine(str(number), {}, {"plain": pair}, {}) for number, pair in enumerate(counts)]


def test_right_answers_are_tested_as_right_choices_are() -> None:
    points = [1, 1, 0, 1, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 0, 0]
    found = compare_ratios(*(answers([(one, 1) for one in some]) for some in points), "plain")
    wanted = compare(*(lines(list(map(float, some))) for some in points), "mean")
    assert (found.difference, found.p_value, found.test) == (wanted.difference, wanted.p_value, "mcnemar")
    assert (found.better, found.worse, found.count) == (wanted.better, wanted.worse, 8)


def test_error_rates_differ_by_the_ratios_of_their_sums() -> None:
    first, second = [(2, 10), (0, 4), (5, 6), (1, 3)], [(1, 10), (2, 4), (0, 6), (1, 3)]
    found = compare_ratios(answers(first), answers(second), "plain")
    assert found.difference == pytest.approx(100 * (8 / 23 - 4 / 23)) and found.test == "bootstrap"
    assert (found.better, found.worse) == (2, 1)
    assert found.low is not None and found.high is not None and found.low < found.difference < found.high
    with pytest.raises(ValueError, match="share none"):
        compare_ratios(answers(first), [], "plain")


def test_equal_error_rates_are_rarely_told_apart() -> None:
    generator, alarms = random.Random(4), 0
    for _ in range(200):
        pair = [[(generator.randint(0, 4), 8) for _ in range(40)] for _ in range(2)]
        alarms += compare_ratios(answers(pair[0]), answers(pair[1]), "plain").p_value < 0.05
    assert 2 <= alarms <= 22  # 10 are expected


def test_draws_of_one_item_count_once() -> None:
    labelled = [
        [
            AnswerLine(f"seed{d}/{n}", {"item": str(n)}, {"plain": (float(right), 1)}, {})
            for n in range(9)
            for d in range(3)
        ]
        for right in (True, False)
    ]
    found = compare_ratios(*labelled, "plain", ("item",))
    assert (found.count, found.better, found.difference, found.test) == (9, 9, 100, "bootstrap")
    assert compare_ratios(*labelled, "plain").count == 27


def test_memory_does_not_grow_with_items_times_resamples() -> None:
    generator = random.Random(1)
    pair = [answers([(generator.randint(0, 4), 8) for _ in range(5000)]) for _ in range(2)]
    tracemalloc.start()
    found = compare_ratios(*pair, "plain")
    assert tracemalloc.get_traced_memory()[1] < 150e6  # 800 MB at once
    tracemalloc.stop()
    assert found.count == 5000 and found.low is not None


def test_parts_of_resamples_are_those_that_would_be_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).random((30, 2))
    whole = interval.resampled_sums(values, 500, np.random.default_rng(0))
    monkeypatch.setattr(interval, "PART", 100)
    assert np.allclose(interval.resampled_sums(values, 500, np.random.default_rng(0)), whole)
