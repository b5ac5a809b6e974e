"""Verdicts follow the rule, and estimates compare runs of the same seed on the same items."""

from typing import Any

import pytest

from spiritlm_pl.evaluation.paired import PairedEstimate
from spiritlm_pl.reproduce.findings import (
    condition_mean,
    difference,
    finding_verdict,
    findings_file,
    measured,
    statements,
    told,
    verdict,
)

DIRECTIONS = ("text_to_text", "speech_to_speech", "speech_to_text", "text_to_speech")


def result(points: list[float], ids: list[str] | None = None, layers: list[tuple[float, float]] | None = None) -> Any:
    ids = ids or [f"story {number}" for number in range(len(points))]
    steps: dict[str, Any] = {"choice": {"figures": {"points": {"ids": ids} | dict.fromkeys(DIRECTIONS, points)}}}
    if layers is not None:
        found = [{"same": {"value": same}, "other": {"value": other}} for same, other in layers]
        steps["words"] = {"figures": {"layers": found}}
    return {"steps": steps}


def estimate(low: float | None, high: float | None, seeds: int = 5) -> PairedEstimate:
    return PairedEstimate(0.0, low, high, seeds, 10)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, "too few runs"),
        (estimate(None, None, 1), "too few runs"),
        (estimate(1.0, 2.0, 4), "too few runs"),
        (estimate(1.0, 2.0, 5), "seen"),
        (estimate(0.0, 2.0), "not seen"),
        (estimate(-1.0, 2.0), "not seen"),
        (estimate(-2.0, -1.0), "opposite"),
    ],
)
def test_a_statement_is_seen_where_its_interval_lies_above_0(found: PairedEstimate | None, expected: str) -> None:
    assert verdict(found) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], "figures only"),
        (["seen", "too few runs"], "too few runs"),
        (["seen", "seen"], "seen"),
        (["seen", "not seen"], "not seen"),
        (["seen", "opposite", "not seen"], "opposite"),
    ],
)
def test_a_finding_is_what_its_main_statements_are(found: Any, expected: str) -> None:
    assert finding_verdict(found) == expected


def test_the_papers_figures_stand_in_the_order_of_the_difference() -> None:
    for number in findings_file()["findings"]:
        for one in statements(number, {}):
            assert one.published is None or one.published[0] > one.published[1], one.text  # what the paper found


def test_runs_are_paired_by_seed_and_items_by_id() -> None:
    runs = {
        "a": {0: result([1, 1, 0], ["x", "y", "z"]), 1: result([1, 0, 0], ["x", "y", "z"]), 7: result([1, 1, 1])},
        "b": {1: result([0, 1], ["y", "x"]), 0: result([0, 0], ["y", "x"]), 9: result([0, 0])},
    }
    found = difference(runs, "speech_to_text", "a", "b")
    assert found is not None and (found.seeds, found.items) == (2, 2)
    assert found.value == 50.0  # seed 0: x and y more; seed 1: none
    assert difference(runs, "speech_to_text", "a", "c") is None
    chance = difference(runs, "speech_to_text", "b", "chance")
    assert chance is None  # runs of b have no item in common


def test_intervals_of_shares_and_of_their_differences_end_where_these_do() -> None:
    runs = {"a": {0: result([1, 1]), 1: result([1, 0])}, "b": {0: result([0, 0]), 1: result([0, 1])}}
    mean = condition_mean(runs["a"], "speech_to_text")
    assert mean is not None and (mean.value, mean.low, mean.high) == (75.0, 0.0, 100.0)
    for better, worse, ends in (("a", "b", (-100.0, 100.0)), ("a", "chance", (-50.0, 50.0))):
        found = difference(runs, "speech_to_text", better, worse)
        assert found is not None and (found.low, found.high) == ends


def test_a_mean_of_directions_is_taken_item_by_item() -> None:
    one = result([1, 0])
    one["steps"]["choice"]["figures"]["points"]["text_to_speech"] = [0, 0.5]
    assert measured(one, "cross_modal") == {"story 0": 50.0, "story 1": 25.0}
    assert measured({"steps": {}}, "cross_modal") is None


def test_words_are_alike_in_the_best_layer() -> None:
    one = result([1], layers=[(0.1, 0.1), (0.6, 0.2), (0.9, 0.8)])
    assert measured(one, "alignment") == {"": pytest.approx(40.0)}
    found = condition_mean({0: one, 1: one}, "alignment")
    assert found is not None and (found.items, found.seeds) == (1, 2)


def test_a_lower_value_may_be_what_is_said() -> None:
    runs = {"interleaved": {seed: result([0, 0, 0, 1]) for seed in range(3)}}
    runs["none"] = {seed: result([1, 1, 1, 1]) for seed in range(3)}
    said = {"measure": "speech_to_text", "better": "interleaved", "worse": "none", "published": [1, 2]}
    higher, lower = told(said, runs), told(said | {"lower": True}, runs)
    assert higher.estimate is not None and lower.estimate is not None
    assert higher.estimate.value == -75.0 and lower.estimate.value == 75.0
    assert "below" in lower.text and "above" in higher.text and higher.published == (1.0, 2.0)
