"""The table of models: chance as measured, which way is better, empty answers, options in words."""

import json
from pathlib import Path

import pytest

from spiritlm_pl.benchmarks.plot import plot
from spiritlm_pl.benchmarks.report import Summary, overview, spelt
from spiritlm_pl.benchmarks.results import Results


def summary(folder: Path, name: str, figures: dict[str, list[tuple[str, float]]], **values) -> Summary:
    told = {
        way: [{"name": one, "value": value, "low": None, "high": None, "count": 9} for one, value in some]
        for way, some in figures.items()
    }
    facts = {"benchmark": name, "model": folder.name, "figures": told, "published": next(iter(figures))}
    facts |= {"num_scored": 9, "num_skipped": 0, "num_read": 9, "options": {}, "chance": None} | values
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(facts))
    return Summary.read(folder / f"{name}.json")


def test_chance_is_that_of_the_items_where_it_is_measured(tmp_path: Path) -> None:
    first = summary(tmp_path / "a", "intents", {"exact_match": [("all", 9.0), ("chance", 8.3333)]})
    other = summary(tmp_path / "b", "intents", {"exact_match": [("all", 9.0), ("chance", 3.2258)]})
    pairs = summary(tmp_path / "a", "swuggy", {"mean": [("all", 50.0)]}, chance=50.0)
    words = summary(tmp_path / "a", "asr", {"wer": [("all", 30.0)]}, unit="word error rate, %", higher_is_better=False)
    table = overview([first, pairs, words])
    assert [row[2] for row in table.rows] == ["8.33", "50", "-"]
    assert overview([first, other]).rows[0][3] == "8.33; 3.23"
    assert [row[-1].endswith(", lower is better") for row in table.rows] == [False, False, True]
    parts = plot([first, pairs, words]).axes
    assert [one.get_xlabel().endswith("(lower is better)") for one in parts] == [False, True]


def test_empty_answers_and_options_are_told_in_words(tmp_path: Path) -> None:
    ways = {"added": [("all", 0.0)], "empty": [("all", 100.0)]}
    table = overview(
        [
            summary(tmp_path / "a", "toxicity_text", ways),
            summary(tmp_path / "b", "toxicity_text", ways | {"empty": [("all", 0.0)]}, options={"first": 3}),
        ]
    )
    notes = "\n".join(table.notes)
    assert "a, toxicity_text: 100.0 % of the answers are empty" in notes and "b, toxicity_text: 0" not in notes
    assert "a: 9 of 9 items, no options; b: 9 of 9 items, first: 3" in notes
    assert spelt({"labels": {"a": None}, "name": "é: b", "x": [1, 2]}) == "labels: {a: null}, name: 'é: b', x: [1, 2]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"language_model": "z"}, "has results of another language model: choose"),
        ({"judges": {}}, "has results of another word_list, whose files have changed or are missing: choose"),
        ({"options": {"split": "test"}}, "has results with options word_list: a.txt, and this run has split: test"),
        ({"options": {}, "judges": {}}, "has results with options word_list: a.txt, and this run has none: choose"),
    ],
)
def test_what_differs_from_earlier_results_is_told_in_words(tmp_path: Path, change: dict, message: str) -> None:
    identity = {"language_model": "x", "options": {"word_list": "a.txt"}, "judges": {"word_list": "05519"}}
    with Results(tmp_path / "out", identity):
        pass
    with pytest.raises(ValueError, match=message):
        Results(tmp_path / "out", identity | change)


def test_a_refused_run_takes_away_the_folders_that_it_made(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    for folder in ("kept/a/b", "c/d"):
        with pytest.raises(ValueError, match="no"), Results(tmp_path / folder, {}):
            raise ValueError("no")
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]
    with pytest.raises(ValueError, match="no"), Results(tmp_path / "kept/a", {}) as results:
        results.write([{"id": "1"}])
        raise ValueError("no")
    assert (tmp_path / "kept/a/items.jsonl").is_file()
