"""Intervals: shares, ratios of sums and means over utterances, and what cannot be measured."""

import numpy as np
import pytest

from spiritlm_pl.evaluation.interval import Estimate, mean_estimate, ratio_estimate, share_estimate, wilson_interval


def test_shares_have_wilson_intervals() -> None:
    found = share_estimate([True, True, True, False], 100.0)
    low, high = wilson_interval(3, 4)
    assert found == Estimate(75.0, 100 * low, 100 * high, 4)
    assert share_estimate([]) is None


def test_a_ratio_of_sums_weighs_utterances_by_their_size() -> None:
    found = ratio_estimate([1, 0, 0], [1, 9, 0], 100.0)
    assert found is not None and found.value == pytest.approx(10.0) and found.count == 2  # the empty one does not count
    assert ratio_estimate([0.0], [0.0]) is None and ratio_estimate([], []) is None
    assert ratio_estimate([8.0], [2.0], through=np.sqrt) == Estimate(2.0, None, None, 1)


def test_bootstrap_intervals_are_those_of_the_mean() -> None:
    values = list(np.random.default_rng(1).normal(5.0, 2.0, 400))
    found = mean_estimate([*values, None])
    assert found is not None and found.count == 400 and found.low is not None and found.high is not None
    assert found.value == pytest.approx(np.mean(values))
    error = np.std(values) / 20
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.3 * error)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.3 * error)
    assert found == mean_estimate(values)  # the same again


def test_no_value_is_no_mean() -> None:
    assert mean_estimate([None, None]) is None
    assert mean_estimate([3.0, None]) == Estimate(3.0, None, None, 1)


def test_utterances_that_are_alike_have_no_interval() -> None:
    assert mean_estimate([0.0] * 30) == Estimate(0.0, None, None, 30)
    assert ratio_estimate([1, 2], [2, 4]) == Estimate(0.5, None, None, 2)
