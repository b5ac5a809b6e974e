"""Paired tests after shots: differences of the figures shown, and draws of shots that are drawn anew, too."""

import json
import random

import pytest

from spiritlm_pl.benchmarks.few_shot.suites import ASR, INTENTS
from spiritlm_pl.benchmarks.report import comparisons, read_summaries


def transcripts(rates, count=300, splits=(("test-clean", 10),), seed=0):
    """Lines of as many draws as there are rates of errors.

    Args:
        rates: for each draw, the rate of errors in each split.
        count: number of items of each split.
        splits: name of each split and the number of words of its items.
        seed: seed of the errors.
    """
    draw = random.Random(seed)
    return [
        {
            "id": f"seed{number}/{split}-{item}",
            "labels": {"seed": number, "item": f"{split}-{item}", "split": split},
            "counts": {"wer": (sum(draw.random() < rate for _ in range(words)), words)},
            "texts": {"reference": "x", "answer": "y"},
            "tokens": [],
            "finish_reason": "stop",
            "num_shots": 2,
        }
        for number, by_split in enumerate(rates)
        for (split, words), rate in zip(splits, by_split, strict=True)
        for item in range(count)
    ]


def test_draws_of_shots_are_part_of_the_chance():
    first, second = transcripts([[0.1], [0.1], [0.25]]), transcripts([[0.14]] * 3, seed=1)
    assert ASR.compared(first, second, "wer").p_value > 0.2  # one draw alone is to blame
    better = ASR.compared(first, transcripts([[0.22], [0.2], [0.33]], seed=1), "wer")
    assert better.p_value < 0.01 and better.high < 0
    assert ASR.compared(first, first, "wer").p_value == 1


def test_equal_models_are_rarely_told_apart():
    alarms = 0
    for trial in range(40):
        draw = random.Random(trial)
        rates = [[[0.1 + 0.1 * draw.random()] for _ in range(5)] for _ in range(2)]
        first, second = (transcripts(some, 30, seed=2 * trial + place) for place, some in enumerate(rates))
        alarms += ASR.compared(first, second, "wer").p_value < 0.05
    assert alarms <= 8  # 2 by rights; few draws make a few more


def test_the_difference_is_that_of_the_figures_shown():
    splits = (("test-clean", 20), ("test-other", 4))
    first, second = transcripts([[0.1, 0.3]] * 2, 60, splits), transcripts([[0.15, 0.2]] * 2, 60, splits, seed=1)
    shown = [ASR.figures(lines)["wer"][0].value for lines in (first, second)]
    found = ASR.compared(first, second, "wer")
    assert found.difference == pytest.approx(shown[0] - shown[1]) and found.difference > 0
    assert found.low < found.difference < found.high and found.count == 120
    assert found.better + found.worse <= 120 and found.test == "bootstrap"


def labelled(right, seed=0):
    draw = random.Random(seed)
    names = ("a", "b", "b", "b")
    lines = []
    for number in range(2):
        for item in range(80):
            meant = names[item % 4]
            given = meant if draw.random() < right else "b"
            labels = {"seed": number, "item": str(item), "split": "test", "label_in_shots": 1, "num_labels": 2}
            counts = {"exact_match": (float(given == meant), 1.0), "is_label": (1.0, 1.0)}
            texts = {"reference": meant, "answer": given, "prediction": given}
            line = {"id": f"seed{number}/{item}", "labels": labels, "counts": counts, "texts": texts}
            lines.append(line | {"tokens": [], "finish_reason": "stop", "num_shots": 1})
    return lines


@pytest.mark.parametrize("way", ["exact_match", "macro_f1"])
def test_labels_are_compared_in_both_ways(way):
    first, second = labelled(0.9), labelled(0.2, 1)
    shown = [INTENTS.figures(lines)[way][0].value for lines in (first, second)]
    found = INTENTS.compared(first, second, way)
    assert found.difference == pytest.approx(shown[0] - shown[1]) and found.p_value < 0.01
    assert found.better > 0 and found.worse <= found.better


@pytest.mark.parametrize("way", ["exact_match", "macro_f1"])
def test_intervals_of_draws_that_differ_much_end_where_shares_do(way):
    good = labelled(1.0)
    poor = [{**line, "counts": {**line["counts"], "exact_match": (0.0, 1.0)}} for line in good]
    poor = [{**line, "texts": {**line["texts"], "prediction": "c"}} for line in poor]
    first, second = good[:80] + poor[80:], poor[:80] + poor[80:]
    (all_draws, *_) = INTENTS.figures(first)[way]
    assert (all_draws.value, all_draws.low, all_draws.high) == (50.0, 0.0, 100.0)
    for found, ends in ((INTENTS.compared(first, second, way), 100), (INTENTS.compared(second, first, way), -100)):
        assert ends in (found.low, found.high) and -100 <= found.low <= found.high <= 100


def test_items_of_one_model_alone_are_left_out():
    first = transcripts([[0.1]] * 2, 30)
    assert ASR.compared(first, first[:-3], "wer").unpaired == 3
    with pytest.raises(ValueError, match="share none"):
        ASR.compared(first, [], "wer")


def test_the_table_has_the_benchmarks_own_comparison(tmp_path):
    splits = (("test-clean", 20), ("test-other", 4))
    first, second = transcripts([[0.1, 0.3]] * 2, 60, splits), transcripts([[0.15, 0.2]] * 2, 60, splits, seed=1)
    for name, lines in (("a", first), ("b", second)):
        folder = tmp_path / name / "asr"
        folder.mkdir(parents=True)
        (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        figures = {way: [vars(one) for one in some] for way, some in ASR.figures(lines).items()}
        summary = {"benchmark": "asr", "model": name, "figures": figures, "published": "wer", "num_scored": len(lines)}
        summary |= {"num_skipped": 0, "num_read": len(lines), "options": {}, "unit": ASR.info.unit, "chance": None}
        (folder / "summary.json").write_text(json.dumps(summary))
    (row,) = comparisons(read_summaries([tmp_path])).rows
    found = ASR.compared(first, second, "wer")
    assert row[2].startswith(f"{found.difference:.1f} (") and row[4] == f"{found.p_value:.2g}"
