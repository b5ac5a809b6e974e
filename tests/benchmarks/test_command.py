"""The commands from miniatures to a table: run, resumed, a set, a report with tests, score files, bad input."""

import json
import re
import sys

import pytest
import torch

from spiritlm_pl.benchmarks.report import published
from spiritlm_pl.cli.benchmark import COMMANDS
from spiritlm_pl.cli.main import main
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.registry import registered
from spiritlm_pl.runtime.lineage import write_note


@pytest.fixture(scope="module")
def models(tiny_lm, speech_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    network, text, vocabulary = tiny_lm
    config = type(network.config).from_dict(network.config.to_dict() | {"max_position_embeddings": 512})
    torch.manual_seed(9)
    for name in ("first", "second"):
        save_lm(folder / name / "lm", type(network)(config).eval(), vocabulary, text)
        speech_tokenizer.save(folder / name / "speech_tokenizer")
    return folder


def spiritlm(capsys, *words, code=0):
    argv, sys.argv = sys.argv, ["spiritlm", *map(str, words)]
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        sys.argv = argv
    found = capsys.readouterr()
    assert end.value.code == code, found.err
    return found.out, found.err


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from spiritlm_pl.cli.prepare.benchmark import benchmark

    folder = tmp_path_factory.mktemp("data")
    for kind, count in (("swuggy", 6), ("sblimp", 20)):
        benchmark(kind, str(folder / "slm21"), count=count)
    benchmark("storycloze", str(folder / "stories"), count=3)
    (folder / "sets.yaml").write_text(
        "slm21: slm21\ntstorycloze: {folder: stories/tStoryCloze}\nstorycloze: stories/sStoryCloze\n"
    )
    return folder


@pytest.fixture
def run(models, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def command(name, data, out, model="first", *options, code=0):
        store = ("--speech-tokens", tmp_path / "store", "--device", "cpu")
        return spiritlm(
            capsys, "benchmark", "run", name, data, out, "--model", models / model, *store, *options, code=code
        )

    return command


def test_a_set_of_two_models_becomes_a_table(run, data, tmp_path, capsys):
    for model in ("first", "second"):
        out, error = run("quick", data / "sets.yaml", f"results/{model}", model)
        assert "swuggy: first" in out or model == "second"
        assert "salmon:" in error and "has no folder for it" in error
    out, _ = spiritlm(capsys, "benchmark", "report", "results/first", "results/second", "--out", "t.md", "--full")
    table = (tmp_path / "t.md").read_text()
    assert "| benchmark | first | second | chance | Spirit LM Base 7B* | figure |" in table
    assert "58.3 Spirit LM Base 7B; " in table and "accuracy, % (mean)" in table
    assert "mcnemar" in table and "bootstrap" in table and "type/" in table
    assert (tmp_path / "t.png").stat().st_size > 5000
    summary = json.loads((tmp_path / "results/first/swuggy/summary.json").read_text())
    lines = (tmp_path / "results/first/swuggy/items.jsonl").read_text().splitlines()
    assert summary["num_scored"] == len(lines) > 6
    summed, _ = spiritlm(capsys, "benchmark", "report", "results/first", "--counted-by", "sum")
    rows = summed.partition("Published figures")[2].partition("arXiv")[0]  # the sources follow
    assert "summed" in rows and "71.6" not in rows


def test_a_way_that_no_result_has_is_refused(run, data, tmp_path, capsys):
    run("sblimp", data / "slm21", "results/first", "first", "--limit", "2")
    _, error = spiritlm(capsys, "benchmark", "report", "results/first", "--counted-by", "foo", code=2)
    assert "--counted-by must be one of masked_mean" in error and "'foo'" in error
    spiritlm(capsys, "benchmark", "report", "results/first", "--out", "t.md")
    table = (tmp_path / "t.md").read_text()
    assert "Spirit LM Base 7B (sblimp): arXiv" in table and "SALMon" not in table


def test_texts_need_no_speech_tokenizer(run, data, models, tmp_path):
    out, _ = run("swuggy-text", data / "slm21", "results", "first/lm")
    assert "swuggy_text: first/lm" in out


def test_score_files_of_the_official_toolkit(run, data, tmp_path, capsys):
    run("swuggy", data / "slm21", "results/a")
    spiritlm(capsys, "benchmark", "submission", "results/a", "submission")
    scores = dict(line.split() for line in (tmp_path / "submission/lexical/dev.txt").read_text().splitlines())
    assert scores.keys() == {path.stem for path in (data / "slm21/lexical/dev").glob("*.wav")}
    line = json.loads((tmp_path / "results/a/swuggy/items.jsonl").read_text().splitlines()[0])
    assert [float(scores[name]) for name in line["names"]] == line["scores"]["mean"]
    run("tstorycloze", data / "stories/tStoryCloze", "results/b")
    _, error = spiritlm(capsys, "benchmark", "submission", "results/b", "submission", code=2)
    assert "RESULTS must hold swuggy or sblimp" in error


def test_score_files_need_every_pair_of_one_model(run, data, tmp_path, capsys):
    run("swuggy", data / "slm21", "results/drawn", "first", "--limit", "3")
    _, error = spiritlm(capsys, "benchmark", "submission", "results/drawn", "submission", code=2)
    assert "every pair must be scored" in error and "without --limit into a new folder" in error
    for name in ("a", "b"):
        run("swuggy", data / "slm21", f"results/whole/{name}", "first")
    _, error = spiritlm(capsys, "benchmark", "submission", "results/whole", "submission", code=2)
    assert "RESULTS must be of one model" in error and not (tmp_path / "submission").exists()


def test_figures_of_other_items_are_noted(run, data, tmp_path, capsys):
    run("sblimp", data / "slm21", "results/first", "first", "--limit", "2")
    run("sblimp", data / "slm21", "results/second", "second", "--options", "{split: test}")
    spiritlm(capsys, "benchmark", "report", "results", "--out", "t.md")
    table = (tmp_path / "t.md").read_text()
    assert "sblimp is not of the same items: first: 2 of" in table and "second:" in table
    assert "not the same items: no options and split: test" in table and "mcnemar |" not in table


def test_an_entry_without_a_folder_is_refused(run, tmp_path):
    (tmp_path / "sets.yaml").write_text("slm21: {split: test}\n")
    _, error = run("swuggy", tmp_path / "sets.yaml", "results", code=2)
    assert "swuggy must have a folder in" in error


def test_a_limit_and_options_are_told(run, data, tmp_path):
    run("sblimp", data / "slm21", "results", "first", "--limit", "2", "--options", "{split: test}")
    summary = json.loads((tmp_path / "results/sblimp/summary.json").read_text())
    assert summary["num_scored"] == 2 and summary["options"] == {"split": "test"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("wuggy", "slm21", "results"), "NAME must be one of .*swuggy.* but is 'wuggy'"),
        (("swuggy", "nowhere", "results"), "nowhere is not there"),
        (("zero_shot", "slm21", "results"), "must be a YAML file with the folders of a set"),
        (("swuggy", "stories/tStoryCloze", "results"), "is of a StoryCloze"),
        (
            ("swuggy", "slm21", "results", "first", "--options", "{half: dev}"),
            "options must be among split, mode, cache",
        ),
        (("swuggy", "slm21", "results", "first", "--limit", "0"), "--limit must be at least 1"),
        (("swuggy", "slm21", "results", "nobody"), "is not there"),
    ],
)
def test_bad_input_is_one_line(run, data, words, message):
    name, folder, *others = words
    _, error = run(name, data / folder, *others, code=2)
    assert re.search(message, error) and "Traceback" not in error


def test_results_of_two_models_with_one_name_are_not_one_row(run, data, tmp_path, capsys):
    for model in ("first", "second"):
        run("tstorycloze", data / "stories/tStoryCloze", f"results/{model}", model, "--model-name", "mine")
    _, error = spiritlm(capsys, "benchmark", "report", "results", code=2)
    assert "models must have names of their own" in error
    _, error = spiritlm(capsys, "benchmark", "report", tmp_path, data, code=2)
    assert "RESULTS must be folders that spiritlm benchmark run has written" in error


def test_figures_are_logged_to_the_run_that_trained_the_model(run, data, models, tmp_path):
    from mlflow import MlflowClient

    address = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(address)
    run_id = client.create_run(client.create_experiment("lm")).info.run_id
    write_note(models / "first/lm", "lm", [], run_id, address)
    run("tstorycloze", data / "stories/tStoryCloze", "results")
    logged = client.get_run(run_id).data.metrics
    summary = json.loads((tmp_path / "results/tstorycloze/summary.json").read_text())
    assert logged["benchmark/tstorycloze/mean/all"] == summary["figures"]["mean"][0]["value"]
    with pytest.warns(UserWarning, match="the figures could not be logged to MLflow"):
        write_note(models / "first/lm", "lm", [], "f" * 32, address)
        run("tstorycloze", data / "stories/tStoryCloze", "results")


def test_every_benchmark_is_listed_and_every_published_figure_is_of_one(capsys):
    out, _ = spiritlm(capsys, "benchmark", "list")
    names = registered("benchmarks")
    assert all(name in out for name in names) and "sets: few_shot, paper, quick, zero_shot, all" in out
    assert all(set(row["figures"]) <= set(names) for row in published())
    out, _ = spiritlm(capsys, "benchmark", "list", "salmon")
    assert "CC BY-NC 4.0" in out and set(COMMANDS) == {"list", "run", "report", "submission", "stsp-score"}
