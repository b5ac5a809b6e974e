"""Averages by hand, of a random scorer and of an oracle, whatever the lengths, ties and order of pairs."""

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritlm_pl.benchmarks.averages import prosaudit, salmon, sblimp, storycloze, swuggy
from spiritlm_pl.benchmarks.items import ChoiceLine, Figure, Labels

Average = Callable[[Sequence[ChoiceLine], str], list[Figure]]
AVERAGES: dict[str, Average] = {
    "swuggy": swuggy.figures,
    "sblimp": sblimp.figures,
    "storycloze": storycloze.figures,
    "salmon": salmon.figures,
    "prosaudit": prosaudit.figures,
}


def line(name: str, points: float, labels: Labels) -> ChoiceLine:
    score = {1.0: (-1.0, -2.0), 0.5: (-3.0, -3.0), 0.0: (-2.0, -1.0)}[points]
    return ChoiceLine(name, (f"{name}r", f"{name}w"), labels, {"mean": score}, (3, 4))


def labels_of(suite: str, number: int) -> Labels:
    """Labels of the line of this number: two voices for each id."""
    voice, one = "AB"[number % 2], number // 2
    return {
        "swuggy": {
            "id": str(one),
            "voice": voice,
            "frequency": [0, 1, 4, 5, 19, 20, 100, None][one % 8],
            "length": 3 + one % 3,
        },
        "sblimp": {"type": f"t{one % 3}", "subtype": "s", "id": str(one // 3), "voice": voice},
        "storycloze": {"story": str(one), "voice": voice},
        "salmon": {"part": salmon.PARTS[number % 8], "id": str(number // 8)},
        "prosaudit": {"type": ["lexical", "protosyntax"][one % 2], "id": str(one), "voice": None},
    }[suite]


def scored(suite: str, count: int, scorer: Callable[[int], tuple[float, float]]) -> list[ChoiceLine]:
    return [
        ChoiceLine(
            str(number), (f"r{number}", f"w{number}"), labels_of(suite, number), {"mean": scorer(number)}, (3, 4)
        )
        for number in range(count)
    ]


def values(figures: Sequence[Figure]) -> dict[str, float]:
    assert len({figure.name for figure in figures}) == len(figures)
    return {figure.name: figure.value for figure in figures}


def test_swuggy_by_hand() -> None:
    lines = [
        line("a", 1, {"id": "0", "voice": "A", "frequency": 12, "length": 5}),
        line("b", 0, {"id": "0", "voice": "B", "frequency": 12, "length": 5}),
        line("c", 0.5, {"id": "1", "voice": "A", "frequency": 0, "length": 4}),
        line("d", 1, {"id": "2", "voice": "A", "frequency": 5, "length": 4}),
        line("e", 0, {"id": "3", "voice": "A", "frequency": 1, "length": 4}),
        line("f", 1, {"id": "4", "voice": "A", "frequency": None, "length": 4}),
        line("g", 1, {"id": "5", "voice": "A", "frequency": 1000, "length": 4}),
    ]
    figures = swuggy.figures(lines, "mean")
    assert values(figures) == pytest.approx(
        {
            "all": 100 * 4 / 6,  # .5, .5, 1, 0, 1, 1
            "in_vocab": 62.5,  # .5, 1, 0, 1
            "frequency/oov": 50.0,
            "frequency/1_to_4": 0.0,
            "frequency/5_to_19": 75.0,
            "frequency/100_and_more": 100.0,
            "frequency/unknown": 100.0,
            "length/4": 70.0,
            "length/5": 50.0,
            "voice/A": 75.0,
            "voice/B": 0.0,
        }
    )
    assert {figure.name: figure.count for figure in figures}["all"] == 6


def test_sblimp_by_hand() -> None:
    lines = [
        line("a", 1, {"type": "x", "subtype": "p", "id": "0", "voice": "A"}),
        line("b", 0, {"type": "x", "subtype": "p", "id": "0", "voice": "B"}),
        line("c", 1, {"type": "x", "subtype": "q", "id": "0", "voice": "A"}),
        line("d", 1, {"type": "x", "subtype": "q", "id": "1", "voice": "A"}),
        line("e", 0, {"type": "y", "subtype": "p", "id": "0", "voice": "A"}),
    ]
    found = values(sblimp.figures(lines, "mean"))
    assert found == pytest.approx(
        {
            "all": 100 * 2.5 / 4,
            "mean_of_types": 100 * (2.5 / 3) / 2,
            "type/x": 100 * 2.5 / 3,
            "type/y": 0.0,
            "voice/A": 75.0,
            "voice/B": 0.0,
        }
    )


def test_salmon_by_hand_and_with_parts_missing() -> None:
    points = dict(zip(salmon.PARTS, (1, 0, 0.5, 1, 1, 0, 1, 0.5), strict=True))
    lines = [line(part, value, {"part": part, "id": "0"}) for part, value in points.items()]
    lines.append(line("more", 0, {"part": "rir_consistency", "id": "1"}))
    found = values(salmon.figures(lines, "mean"))
    assert found["mean_of_consistency"] == pytest.approx(100 * 3.5 / 6)
    assert found["mean_of_alignment"] == pytest.approx(75.0)
    assert found["mean_of_parts"] == pytest.approx(100 * 5 / 8)
    assert found["all"] == pytest.approx(100 * 5 / 9)
    assert found["part/gender_consistency"] == 50.0
    few = values(salmon.figures([one for one in lines if one.labels["part"] != "bg_alignment"], "mean"))
    assert "mean_of_consistency" in few and "mean_of_parts" not in few and "mean_of_alignment" not in few


def test_lines_without_labels_have_the_plain_share() -> None:
    lines = [line(str(number), float(number % 2), {"id": str(number)}) for number in range(4)]
    for average in (swuggy.figures, sblimp.figures, storycloze.figures):
        assert values(average(lines, "mean")) == {"all": 50.0}


def test_what_cannot_be_averaged_is_refused() -> None:
    lines = [line("a", 1, {}), line("b", 1, {})]
    with pytest.raises(ValueError, match="results of at least one item"):
        swuggy.figures([], "mean")
    with pytest.raises(ValueError, match="scores of sum, but 2 of 2 have none: a has mean"):
        swuggy.figures(lines, "sum")
    lines[1].scores["mean"] = (float("nan"), 0.0)
    with pytest.raises(ValueError, match="scores must be numbers, but mean of b"):
        swuggy.figures(lines, "mean")


@pytest.mark.parametrize("suite", AVERAGES)
def test_an_oracle_is_always_right(suite: str) -> None:
    for figure in AVERAGES[suite](scored(suite, 96, lambda number: (-1.0, -2.0)), "mean"):
        assert figure.value == 100 and figure.high == 100
        assert figure.low is not None and 60 < figure.low < 100 or figure.count < 6


@pytest.mark.parametrize("ties", [0.0, 0.3])
@pytest.mark.parametrize("suite", AVERAGES)
def test_a_random_scorer_has_one_half_within_its_intervals(suite: str, ties: float) -> None:
    inside = []
    for seed in range(40):
        draw = random.Random(seed)

        def score(number: int, draw: random.Random = draw) -> tuple[float, float]:
            first, second = (draw.gauss(0, 1) / draw.randint(1, 9) for _ in range(2))
            return (first, first) if draw.random() < ties else (first, second)

        figures = AVERAGES[suite](scored(suite, 480, score), "mean")
        for figure in figures:
            assert figure.low is not None and figure.high is not None and figure.low < figure.value < figure.high
        inside += [figure.low <= 50 <= figure.high for figure in figures if figure.low and figure.high]
    assert sum(inside) / len(inside) > 0.9  # 0.95 by rights, more with ties


@settings(deadline=None, max_examples=40)
@given(
    suite=st.sampled_from(sorted(AVERAGES)),
    points=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=64),
    order=st.randoms(use_true_random=False),
)
def test_order_does_not_matter_and_turning_pairs_around_mirrors(
    suite: str, points: list[float], order: random.Random
) -> None:
    lines = [line(str(number), value, labels_of(suite, number)) for number, value in enumerate(points)]
    wanted = values(AVERAGES[suite](lines, "mean"))
    for name, value in wanted.items():
        assert 0 <= value <= 100, name
    order.shuffle(lines)
    assert values(AVERAGES[suite](lines, "mean")) == pytest.approx(wanted)
    turned = [ChoiceLine(one.id, one.names, one.labels, {"mean": one.scores["mean"][::-1]}, (4, 3)) for one in lines]
    mirrored = {name: 100 - value for name, value in wanted.items()}
    assert values(AVERAGES[suite](turned, "mean")) == pytest.approx(mirrored)


def test_voices_of_one_word_make_the_interval_no_narrower() -> None:
    """Ten voices that agree say no more than one."""
    one = [line(f"{number}", float(number % 2), {"id": str(number), "voice": "0"}) for number in range(40)]
    ten = [
        line(f"{number}-{voice}", float(number % 2), {"id": str(number), "voice": str(voice)})
        for number in range(40)
        for voice in range(10)
    ]
    [alone, among] = [swuggy.figures(lines, "mean")[0] for lines in (one, ten)]
    assert among.count == alone.count == 40 and among.value == alone.value == 50
    assert alone.high is not None and alone.low is not None and among.high is not None and among.low is not None
    assert among.high - among.low == pytest.approx(alone.high - alone.low, rel=0.15)
