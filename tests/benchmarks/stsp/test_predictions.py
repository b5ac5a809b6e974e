"""Prediction files: written by a run, scored without a model, and refused where they do not fit."""

import json

import pytest

from spiritlm_pl.benchmarks.items import AnswerLine
from spiritlm_pl.benchmarks.run import run_benchmark
from spiritlm_pl.benchmarks.stsp.labels import LabelMap
from spiritlm_pl.benchmarks.stsp.predictions import score_predictions, write_predictions
from spiritlm_pl.benchmarks.stsp.suites import STSP_TEXT
from spiritlm_pl.cli.benchmark_stsp import score_stsp

REFERENCES = [
    {"id": -1, "sentiment": "positive", "emotion": "amused"},
    {"id": "-2", "sentiment": "negative", "emotion": "angry"},
    {"id": 3, "sentiment": "neutral", "emotion": "neutral"},
    {"id": 4, "emotion": "sad"},
]
PREDICTIONS = [
    {"id": "-1", "pred": "happy"},
    {"id": -2, "pred": "positive"},
    {"id": "3", "pred": "default"},
    {"id": 4, "pred": None},
]


@pytest.fixture
def files(tmp_path):
    def write(predictions=PREDICTIONS, references=REFERENCES):
        paths = tmp_path / "references.jsonl", tmp_path / "predictions.jsonl"
        for path, rows in zip(paths, (references, predictions), strict=True):
            path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
        return paths

    return write


def by_name(figures):
    return {figure.name: figure.value for figure in figures}


def test_corpora_of_like_names_have_files_of_their_own(tmp_path) -> None:
    lines = [AnswerLine(name, {"corpus": name, "own_id": name}, {}, {"pred": "happy"}) for name in ("a b", "a/b")]
    paths = write_predictions(tmp_path, lines)
    assert [json.loads(path.read_text())["id"] for path in paths] == ["a b", "a/b"]


def test_ids_are_compared_as_text(files) -> None:
    figures, missing = score_predictions(*files(), LabelMap())
    found = by_name(figures)
    assert found["all"] == 50 and not missing and figures[0].count == 4
    assert found["recall/negative"] == 0 and found["confusion/negative/none"] == 50
    assert found["recall/positive"] == 100 == found["recall/neutral"] and found["chance"] == pytest.approx(100 / 3)


def test_missing_predictions_count_as_wrong_beside(files) -> None:
    figures, missing = score_predictions(*files(PREDICTIONS[:1]), LabelMap())
    assert by_name(figures)["all"] == 100 and by_name(figures)["missing_as_wrong"] == 25
    assert missing == ["-2", "3", "4"]


def test_emotions(files) -> None:
    rows = [{"id": row["id"], "pred": row["emotion"].upper()} for row in REFERENCES]
    figures, _ = score_predictions(*files(rows), LabelMap("emotion"))
    assert by_name(figures)["all"] == 100 and by_name(figures)["chance"] == 25


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([{"id": 9, "pred": "happy"}], REFERENCES, "but has others: 9"),
        ([*PREDICTIONS, {"id": 3, "pred": "sad"}], REFERENCES, "line 5 of .*predictions.jsonl: id 3 comes twice"),
        ([{"id": 3}], REFERENCES, "line 1 of .*: pred is missing"),
        ([{"id": 3, "pred": "bored"}], REFERENCES, "pred must have a label, but is 'bored': map it by --labels"),
        (["{oops"], REFERENCES, "line 1 of .*predictions"),
        ([], REFERENCES, "is empty"),
        (PREDICTIONS, [{"id": 1, "sentiment": "bored"}], "sentiment must have a label, but is 'bored'"),
        (PREDICTIONS, [{"sentiment": "sad"}], "id must be a number or a text, but is None"),
        (PREDICTIONS, ["[]"], "must be a JSON object"),
    ],
)
def test_bad_files(files, predictions, references, message) -> None:
    with pytest.raises(ValueError, match=message):
        score_predictions(*files(predictions, references), LabelMap())


def test_the_files_of_a_run_give_its_figure(archive, speaking, tmp_path, capsys) -> None:
    options = {"manifests": ["emov"], "max_new_tokens": 20}
    found = run_benchmark("stsp_text", STSP_TEXT, archive, options, speaking, "mine", tmp_path)
    predictions = tmp_path / "stsp_text/predictions/emov.jsonl"
    manifest = archive / "manifest/emov/emov.test.jsonl"
    score_stsp(manifest, predictions, out=tmp_path / "again.json")
    again = {one["name"]: one for one in json.loads((tmp_path / "again.json").read_text())["figures"]}
    for figure in found["figures"]["kept"]:
        if figure["name"] == "all" or figure["name"].startswith("recall"):
            assert again[figure["name"]] == figure
    assert (tmp_path / "again.png").is_file() and "recall/negative" in capsys.readouterr().out
    score_stsp(manifest, predictions, label="sentiment", labels={"amused": "neutral"})
    with pytest.raises(ValueError, match="cannot be read"):
        score_stsp(tmp_path / "nowhere.jsonl", predictions)
