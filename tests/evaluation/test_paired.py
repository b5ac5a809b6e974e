"""Intervals over seeds and items hold the truth as often as they say."""

import numpy as np
import pytest

from spiritlm_pl.evaluation.paired import crossed_mean


def test_one_seed_has_no_interval() -> None:
    found = crossed_mean(np.array([[1.0, 2.0, 3.0]]))
    assert (found.value, found.low, found.high, found.seeds, found.items) == (2.0, None, None, 1, 3)


def test_a_figure_of_each_run_has_students_interval() -> None:
    found = crossed_mean(np.array([[1.0], [2.0], [3.0]]))
    assert found.low is not None and found.high is not None
    assert found.value == 2.0 and (found.high - found.low) / 2 == pytest.approx(4.302653 / 3**0.5, rel=1e-6)


def test_equal_values_have_no_width() -> None:
    found = crossed_mean(np.full((3, 4), 5.0))
    assert (found.value, found.low, found.high) == (5.0, 5.0, 5.0)


def test_an_interval_ends_where_the_figure_does() -> None:
    values = np.array([[1.0, 1.0], [0.9, 1.0], [1.0, 0.8]])
    free, cut = crossed_mean(values), crossed_mean(values, (0.0, 1.0))
    assert free.high is not None and free.high > 1.0
    assert (cut.value, cut.low, cut.high) == (free.value, free.low, 1.0)
    assert crossed_mean(1.0 - values, (0.0, 1.0)).low == 0.0


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_no_table_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        crossed_mean(np.zeros(shape))


@pytest.mark.parametrize(
    ("seeds", "items", "rest"), [(1.0, 1.0, 1.0), (2.0, 0.0, 1.0), (0.0, 2.0, 1.0), (0.0, 0.0, 1.0)]
)
def test_the_interval_covers_the_mean(seeds: float, items: float, rest: float) -> None:
    generator = np.random.default_rng(0)
    many, inside, width = 400, 0, []
    for _ in range(many):
        values = (
            seeds * generator.normal(size=(5, 1))
            + items * generator.normal(size=(1, 30))
            + rest * generator.normal(size=(5, 30))
        )
        found = crossed_mean(values)
        assert found.low is not None and found.high is not None
        inside += found.low <= 0 <= found.high
        width.append(found.high - found.low)
    assert inside / many > 0.93
    normal = 2 * 1.96 * (seeds**2 / 5 + items**2 / 30 + rest**2 / 150) ** 0.5
    assert np.median(width) < 2.2 * normal
