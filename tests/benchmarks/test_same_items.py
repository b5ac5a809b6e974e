"""Comparisons of two models are of the same items: copies of the data are the same, other data is not."""

import json
import os
import shutil

import pytest
import torch

from spiritlm_pl.benchmarks.averages.compare import compare_ratios
from spiritlm_pl.benchmarks.continuations.suites import TOXICITY
from spiritlm_pl.benchmarks.identity import asked_of
from spiritlm_pl.benchmarks.items import AnswerLine
from spiritlm_pl.benchmarks.report import comparisons, overview, read_summaries
from spiritlm_pl.benchmarks.run import Selection, run_benchmark
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.generation.types import Text


@pytest.fixture
def data(recordings, tmp_path):
    """Recordings, and a copy of them whose times are others."""
    first, second = (shutil.copytree(recordings, tmp_path / name) for name in ("data", "copy"))
    for path in second.iterdir():
        os.utime(path, (1e9, 1e9))
    return first, second


@pytest.fixture
def run(pairs, model, tmp_path):
    def start(name, folder, selection=None, **options):
        return run_benchmark("pairs", pairs, folder, options, model, name, tmp_path / "results" / name, selection)

    return start


def compared(tmp_path):
    """Cells of the only row of the comparison, and the notes of the overview."""
    summaries = read_summaries([tmp_path / "results"])
    (row,) = comparisons(summaries).rows
    return row, " ".join(overview(summaries).notes)


def test_copies_of_the_data_are_the_same_items(run, data, tmp_path):
    first, second = (run(name, folder) for name, folder in zip("ab", data, strict=True))
    assert first["asked"] == second["asked"]
    row, notes = compared(tmp_path)
    assert row[3].endswith("of 7") and row[5] == "mcnemar" and "same items" not in notes


def test_labels_may_tell_paths_of_copies(data):
    first, second = ([asked_of(one) for one in TOXICITY.read(folder, {}).items] for folder in data)
    assert first == second and len(set(first)) >= 8  # other tests add recordings
    save_wav(data[1] / "6.wav", 0.1 * torch.randn(8000 + 800 * 6))
    third = [asked_of(one) for one in TOXICITY.read(data[1], {}).items]
    assert sum(one != other for one, other in zip(first, third, strict=True)) == 1
    lines = [AnswerLine("a", {"recording": f"{folder}/a.wav"}, {"added": (0, 1)}, {}) for folder in data]
    assert compare_ratios(lines[:1], lines[1:], "added").count == 1
    assert asked_of(Text("/" + "x" * 9999)) != asked_of(Text("/\0")) and asked_of({"label": "/" + "x" * 9999})


def test_other_recordings_by_the_same_names_are_not_compared(run, data, tmp_path):
    save_wav(data[1] / "6.wav", 0.1 * torch.randn(8000 + 800 * 6))  # as long as before; of pair 5 as its ending
    run("a", data[0])
    run("b", data[1])
    row, notes = compared(tmp_path)
    assert "not the same items: 1 of 7 differ, such as pair-5" in row[3]
    assert row[4] == row[5] and "pairs is not of the same items: a: 7 of 7 items" in notes


def test_lines_that_the_summary_is_not_of_are_left_out(run, data, tmp_path):
    run("a", data[0])
    run("b", data[1])
    run("b", data[1], Selection(limit=3))  # its summary is of three items; the lines of the others stay
    assert compared(tmp_path)[0][3].endswith("of 3; 4 of one model alone are left out")
    save_wav(data[1] / "6.wav", 0.1 * torch.randn(9000))
    run("b", data[1])
    for name in ("a", "b"):  # a line of an item as it was before, in a file that is read later
        file = tmp_path / "results" / name / "pairs/items.jsonl"
        stale = json.loads(file.read_text().splitlines()[0]) | {"content": "0", "asked": "0"}
        stale["scores"] = {way: [0.0, 1.0] if name == "a" else [1.0, 0.0] for way in stale["scores"]}
        file.with_name("items-1.jsonl").write_text(json.dumps(stale) + "\n")
    save_wav(data[0] / "6.wav", 0.1 * torch.randn(9000))
    shutil.copy(data[0] / "6.wav", data[1] / "6.wav")
    whole = [run(name, folder)["figures"]["mean"][0]["value"] for name, folder in zip("ab", data, strict=True)]
    assert whole[0] == whole[1]
    assert compared(tmp_path)[0][2:5] == ["0.0", "0 higher, 0 lower of 7", "1"]


def test_a_summary_without_its_lines_is_told(run, data, tmp_path):
    for name, folder in zip("ab", data, strict=True):
        run(name, folder)
    file = tmp_path / "results/b/pairs/items.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-2]))
    assert "must have the lines of all 7 items, but lacks 2: run the benchmark again" in compared(tmp_path)[0][3]
    file.with_name("summarised.json").unlink()
    assert "must tell the items of the summary, but does not" in compared(tmp_path)[0][3]


def answers(tmp_path, name, texts, **others):
    """Results with a line for each text, as toxicity_text has them."""
    folder = tmp_path / "results" / name / "toxicity_text"
    folder.mkdir(parents=True)
    rest = {"labels": {}, "counts": {"added": (0, 1)}, "tokens": [], "finish_reason": "stop", "num_shots": 0}
    lines = [{"id": str(place), "texts": {"prompt": text}, **rest} for place, text in enumerate(texts)]
    (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    figures = {"added": [{"name": "all", "value": 0, "low": None, "high": None, "count": len(texts)}]}
    summary = {"benchmark": "toxicity_text", "model": name, "figures": figures, "published": "added", "options": {}}
    summary |= {"num_scored": len(texts), "num_read": len(texts), "num_skipped": 0} | others
    (folder / "summary.json").write_text(json.dumps(summary))


def test_results_of_earlier_versions_are_told_apart_by_their_texts(tmp_path):
    answers(tmp_path, "a", ["one", "two", "three"])
    answers(tmp_path, "b", ["one", "two", "four"])
    assert "not the same items: 1 of 3 differ, such as 2" in compared(tmp_path)[0][3]
    shutil.rmtree(tmp_path / "results/b")
    answers(tmp_path, "b", ["one", "two", "three"])
    assert compared(tmp_path)[0][5] == "mcnemar"


def test_figures_by_another_judge_are_not_compared(tmp_path):
    answers(tmp_path, "a", ["one"], judges={"word_list": "12ab"})
    answers(tmp_path, "b", ["one"], judges={"word_list": "34cd"})
    assert "not judged alike: word_list held something else" in compared(tmp_path)[0][3]
