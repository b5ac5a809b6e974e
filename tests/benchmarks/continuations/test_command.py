"""The commands from files to a table, with the names of the entry points."""

import json
import sys

import pytest

from spiritlm_pl.cli.main import main
from spiritlm_pl.lm.folder import save_lm


@pytest.fixture
def spiritlm(capsys, tiny_lm, tmp_path, monkeypatch):
    network, text, vocabulary = tiny_lm
    save_lm(tmp_path / "mine" / "lm", network, vocabulary, text)
    (tmp_path / "prompts.csv").write_text("prompt,axis\nthe cat sat on the mat,a\na dog ran off very bad,b\n")
    (tmp_path / "words.txt").write_text("bad\nvery bad\n")
    monkeypatch.chdir(tmp_path)

    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["spiritlm", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        found = capsys.readouterr()
        assert end.value.code == code, found.err
        return found.out, found.err

    return run


MODEL = ("--model", "mine", "--device", "cpu")


def test_a_file_of_texts_becomes_a_table(spiritlm, language_model, tmp_path):
    out, _ = spiritlm(
        "benchmark", "run", "toxicity-text", "prompts.csv", "results", *MODEL, "--options", "{word_list: words.txt}"
    )
    assert "toxicity_text: mine" in out and "added" in out and "prompt" in out
    options = f"{{language_model: {language_model}, prompt_words: 3}}"
    out, _ = spiritlm(
        "benchmark", "run", "generation_quality_text", "prompts.csv", "results", *MODEL, "--options", options
    )
    assert "counted by" in out and "whole_mean" in out and "original" in out
    spiritlm("benchmark", "report", "results", "--full", "--out", "table.md")
    table = (tmp_path / "table.md").read_text()
    assert "generation_quality_text" in table and "auto_bleu_geometric" in table
    line = json.loads((tmp_path / "results/toxicity_text/items.jsonl").read_text().splitlines()[1])
    assert line["labels"] == {"axis": "b"}
    assert line["texts"]["prompt_toxic"] == "very bad"


def test_a_set_gives_each_its_own_options(spiritlm, tmp_path):
    (tmp_path / "sets.yaml").write_text("toxicity_text: {folder: prompts.csv, word_list: words.txt}\n")
    out, error = spiritlm("benchmark", "run", "paper", "sets.yaml", "results", *MODEL)
    assert "toxicity_text: mine" in out
    assert "toxicity: sets.yaml has no folder for it" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("toxicity_text", "prompts.csv"), "word_list must be a file of toxic words, or classifier"),
        (("toxicity_text", "nowhere.csv"), "nowhere.csv is not there"),
        (("toxicity", "prompts.csv"), "spoken prompts must lie in a folder, but prompts.csv is a file"),
        (("paper", "prompts.csv"), "DATA must be a YAML file"),
        (("swuggy", "prompts.csv"), "a benchmark must be a folder, but prompts.csv is a file"),
        (
            ("generation_quality_text", "prompts.csv", "--options", "{prompt_words: 3}"),
            "language_model must be a folder or hub name",
        ),
    ],
)
def test_bad_input_is_one_line(spiritlm, words, message):
    _, error = spiritlm("benchmark", "run", *words[:2], "results", *MODEL, *words[2:], code=2)
    assert message in error
    assert len([line for line in error.splitlines() if line.startswith("spiritlm: error")]) == 1
