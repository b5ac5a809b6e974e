"""Turns of streams: every share is right, whatever the weights, and the order is one function of the row's number."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritlm_pl.data.turns import LONGEST_TABLE, TOLERANCE, ComputedTurns, TableTurns, cycle, quotas, turns

WEIGHTS = st.lists(st.floats(1e-3, 1e2), min_size=1, max_size=7)
SOME = settings(max_examples=50, deadline=None)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1, 1, 1], [1, 1, 1]),
        ([0.5, 0.3, 0.2], [5, 3, 2]),
        ([1 / 3] * 3, [1, 1, 1]),
        ([1 / 3, 1 / 6, 1 / 2], [2, 1, 3]),
        ([2.0], [1]),
        ([98, 1, 1], [98, 1, 1]),
        ([0.7, 0.2, 0.0995, 0.0005], [1400, 400, 199, 1]),
        ([10, 3, 1, 0.01], [1000, 300, 100, 1]),
        ([1, 1500], [1, 1500]),
    ],
)
def test_quotas_are_exact(weights: list[float], expected: list[int]) -> None:
    assert quotas(weights) == expected
    assert isinstance(turns(weights), TableTurns if sum(expected) <= LONGEST_TABLE else ComputedTurns)


@pytest.mark.parametrize("weights", [[1.0, 0.0], [], [1.0, float("nan")], [float("inf"), 1.0]])
def test_weights_must_be_positive(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be positive numbers, but are"):
        quotas(weights)


def test_weights_too_far_apart_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"within 0.1% \(each at least 2e-07 of the sum\), but are \[1, 3e-11\] instead"
    ):
        quotas([1, 3e-11])


@SOME
@given(WEIGHTS)
def test_every_share_is_right_or_refused(weights: list[float]) -> None:
    """Counted, over a cycle, where one is short enough to be counted."""
    found = turns(weights)
    shares = np.array(weights) / sum(weights)
    np.testing.assert_allclose(np.array(found.quotas) / found.length, shares, rtol=TOLERANCE)
    if found.length <= 100_000:
        streams, _ = found.rows(np.arange(found.length, 2 * found.length))
        assert np.bincount(streams, minlength=len(weights)).tolist() == list(found.quotas)


@SOME
@given(WEIGHTS, st.integers(0, 1 << 40))
def test_each_stream_gives_its_rows_in_order_and_evenly(weights: list[float], first: int) -> None:
    found = turns(weights)
    numbers = np.arange(first, first + 2_000)
    streams, within = found.rows(numbers)
    for stream, quota in enumerate(found.quotas):
        mine = np.flatnonzero(streams == stream)
        assert (np.diff(within[mine]) == 1).all()
        if len(mine):  # its row number is the part of all rows before it, but for a few rows
            ideal = [int(row) * quota // found.length for row in numbers[mine]]
            assert np.abs(within[mine] - np.array(ideal)).max() <= len(weights)
    alone = [found.rows(numbers[place : place + 1]) for place in (0, 700, 1_999)]  # wherever it is asked for
    assert [(int(stream[0]), int(row[0])) for stream, row in alone] == [
        (int(streams[place]), int(within[place])) for place in (0, 700, 1_999)
    ]


@SOME
@given(WEIGHTS, st.integers(1, 10_000), st.data())
def test_the_row_at_which_a_stream_has_given_its_rows(weights: list[float], number: int, data: st.DataObject) -> None:
    found = turns(weights)
    stream = data.draw(st.integers(0, len(weights) - 1))
    end = found.end_of(stream, number)
    streams, within = found.rows(np.arange(end - 1, end))
    assert (streams[0], within[0]) == (stream, number - 1)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_a_cycle_spreads_its_streams(counts: list[int]) -> None:
    slots = cycle(counts)
    assert [slots.count(stream) for stream in range(len(counts))] == counts
    for stream, count in enumerate(counts):  # never more than a row away from its share
        have = np.cumsum(np.array(slots) == stream)
        assert np.abs(have - count * np.arange(1, len(slots) + 1) / len(slots)).max() < len(counts)


def test_short_cycles_have_the_order_that_they_always_had() -> None:
    """Checkpoints of earlier versions go on in it."""
    assert turns([2, 1, 1]).rows(np.arange(6))[0].tolist() == [0, 1, 2, 0, 0, 1]
    assert turns([0.5, 0.3, 0.2]).rows(np.arange(10))[0].tolist() == [0, 1, 2, 0, 0, 1, 0, 2, 1, 0]


def test_turns_reach_workers() -> None:
    for weights in ([1, 2], [1, 1500]):
        copy = pickle.loads(pickle.dumps(turns(weights)))
        assert copy.rows(np.arange(5_000))[1].tolist() == turns(weights).rows(np.arange(5_000))[1].tolist()
