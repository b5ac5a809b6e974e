"""GenPPL and auto-BLEU: a language model that guesses, originals as continuations, silence, and bad input."""

import json
import math

import pytest

from spiritlm_pl.benchmarks.continuations import quality
from spiritlm_pl.benchmarks.continuations.suites import GENERATION_QUALITY, GENERATION_QUALITY_TEXT
from spiritlm_pl.benchmarks.items import AnswerLine
from spiritlm_pl.benchmarks.run import run_benchmark

from .conftest import WORDS, save_language_model

TEXT = {"prompt_words": 4, "max_new_tokens": 8}
SPEECH = {"prompt_seconds": 0.25, "max_new_tokens": 20, "vocabulary": "not read"}


def run(name, benchmark, data, options, model, out):
    return run_benchmark(name, benchmark, data, options, model, "tiny", out)


def run_text(stories, model, out, **options):
    return run("generation_quality_text", GENERATION_QUALITY_TEXT, stories, TEXT | options, model, out)


def lines(out, name="generation_quality_text"):
    return [json.loads(line) for line in (out / name / "items.jsonl").read_text().splitlines()]


def all_of(found):
    return {way: figures[0]["value"] for way, figures in found["figures"].items()}


def originals(found):
    return {way: figures[1]["value"] for way, figures in found["figures"].items()}


@pytest.fixture
def heard(monkeypatch):
    """A recogniser for which a tenth of a second is a word, by the sign of its first sample."""

    def hear(waveform, rate):
        parts = waveform.float().split(rate // 10)
        return " ".join("cat" if part[0] > 0 else "dog" for part in parts if len(part) == rate // 10)

    monkeypatch.setattr(quality, "transcriber", lambda *options: hear)


def test_written_continuations_are_scored_beside_the_originals(stories, model, language_model, tmp_path):
    found = run_text(stories, model, tmp_path, language_model=str(language_model))
    assert list(found["figures"]) == [
        "whole_mean", "whole", "continuation", "auto_bleu", "auto_bleu_geometric", "auto_bleu_continuation", "words",
        "empty",
    ]  # fmt: skip
    assert [figure["name"] for figure in found["figures"]["whole_mean"]] == ["all", "original"]
    assert (found["num_scored"], found["num_skipped"]) == (11, 1)
    line = lines(tmp_path)[0]
    assert line["texts"]["whole"] == f"The cat the. A {line['texts']['continuation']}"
    assert line["texts"]["original_whole"] == "The cat the. A dog sat on the mat off."


def test_figures_come_from_the_lines_alone(stories, model, language_model, tmp_path):
    found = run_text(stories, model, tmp_path, language_model=str(language_model))
    counts = [line["counts"] for line in lines(tmp_path)]
    whole = [one["whole"] for one in counts]
    assert all_of(found)["whole"] == pytest.approx(math.exp(sum(a for a, _ in whole) / sum(b for _, b in whole)))
    assert all_of(found)["whole_mean"] == pytest.approx(math.exp(sum(a / b for a, b in whole) / len(whole)))


def test_a_text_model_that_guesses_has_the_size_of_its_vocabulary_as_perplexity(stories, model, tmp_path):
    judge = save_language_model(tmp_path / "judge", guesses=True)
    found = run_text(stories, model, tmp_path / "out", language_model=str(judge))
    for way in ("whole_mean", "whole", "continuation"):
        assert all_of(found)[way] == pytest.approx(len(WORDS), rel=1e-4)
        assert originals(found)[way] == pytest.approx(len(WORDS), rel=1e-4)


def test_continuations_that_are_the_originals_have_their_figures(stories, model, language_model, tmp_path, monkeypatch):
    answers = iter(["dog sat on the mat off."] * 11)
    monkeypatch.setattr(quality, "written_answer", lambda answer: next(answers))
    found = run_text(stories, model, tmp_path, language_model=str(language_model))
    assert all_of(found) == originals(found)


def test_one_word_again_and_again_is_told_by_auto_bleu(stories, model, language_model, tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "written_answer", lambda answer: "cat cat cat cat")
    found = run_text(stories, model, tmp_path, language_model=str(language_model))
    assert all_of(found)["auto_bleu_continuation"] == 100
    assert originals(found)["auto_bleu_continuation"] == 0


def test_silence_is_counted_and_has_no_perplexity(stories, model, language_model, tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "written_answer", lambda answer: " ... ")
    found = run_text(stories, model, tmp_path, language_model=str(language_model))
    assert all_of(found)["empty"] == 100
    assert originals(found)["empty"] == 0
    assert all_of(found)["words"] == 0
    assert "continuation" not in found["figures"]
    assert "auto_bleu_continuation" not in found["figures"]
    assert found["figures"]["whole"][0]["count"] == 11


def test_one_item_that_is_too_long_costs_itself(stories, model, language_model, tmp_path, monkeypatch):
    answers = iter(["cat", "cat " * 50, *["cat"] * 9])
    monkeypatch.setattr(quality, "written_answer", lambda answer: next(answers))
    found = run_text(stories, model, tmp_path, language_model=str(language_model))
    assert (found["num_scored"], found["num_skipped"]) == (10, 2)
    assert any("at most 40 tokens of the language model" in reason for reason in found["skipped"])


def test_spoken_continuations_are_heard_alone_and_after_the_prompt(stories, speaker, language_model, tmp_path, heard):
    options = SPEECH | {"language_model": str(language_model), "cache": str(tmp_path / "cache")}
    found = run("generation_quality", GENERATION_QUALITY, stories, options, speaker, tmp_path)
    assert (found["num_scored"], found["num_skipped"]) == (11, 1)
    line = lines(tmp_path, "generation_quality")[0]
    texts = {name: text.split() for name, text in line["texts"].items()}
    assert len(texts["prompt"]) == 2  # of 0.25 s
    assert len(texts["original_continuation"]) == 7
    assert len(texts["original_whole"]) == 10
    assert len(texts["whole"]) > len(texts["continuation"]) > 0
    assert line["counts"]["original_words"] == [7, 1]
    assert line["counts"]["original_continuation"][1] == 7


def test_a_recogniser_that_fails_costs_its_item(stories, speaker, language_model, tmp_path, monkeypatch):
    calls = iter(range(1000))

    def hear(waveform, rate):
        if next(calls) == 7:
            raise RuntimeError("deaf")
        return "the cat"

    monkeypatch.setattr(quality, "transcriber", lambda *options: hear)
    options = SPEECH | {"language_model": str(language_model), "cache": str(tmp_path / "cache")}
    found = run("generation_quality", GENERATION_QUALITY, stories, options, speaker, tmp_path)
    assert (found["num_scored"], found["skipped"]["RuntimeError: deaf"]) == (10, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "language_model must be a folder or hub name of a causal language model, but is not given"),
        ({"language_model": "/nowhere"}, "language_model must be a model folder or a hub name, but is /nowhere"),
        ({"language_modell": "x"}, "options must be among .*language_model, .* but are language_modell"),
        ({"temperature": 0}, "temperature must be above 0, but is 0 instead"),
    ],
)
def test_wrong_options_are_one_line(stories, model, language_model, tmp_path, options, message):
    if "temperature" in options:
        options = options | {"language_model": str(language_model)}
    with pytest.raises(ValueError, match=message):
        run_text(stories, model, tmp_path, **options)


def test_a_model_that_cannot_speak_is_refused(stories, model, language_model, tmp_path):
    options = SPEECH | {"language_model": str(language_model), "cache": str(tmp_path / "cache")}
    with pytest.raises(ValueError, match="--model must have a vocoder"):
        run("generation_quality", GENERATION_QUALITY, stories, options, model, tmp_path)


def test_results_by_another_judge_of_the_same_name_are_not_continued(stories, model, tmp_path):
    judge = save_language_model(tmp_path / "judge")
    run_text(stories, model, tmp_path / "out", language_model=str(judge))
    save_language_model(judge, seed=1)
    with pytest.raises(
        ValueError, match="has results of another language_model, whose files have changed or are missing"
    ):
        run_text(stories, model, tmp_path / "out", language_model=str(judge))


def test_without_any_continuation_no_figure_is_the_originals():
    counts = {"whole": (0.0, 0), "continuation": (0.0, 0), "words": (0, 1), "empty": (1.0, 1)}
    theirs = {f"original_{way}": (2.0, 1) for way in ("whole", "continuation", "auto_bleu", "words")}
    line = AnswerLine("a", {}, counts | theirs | {"original_empty": (0.0, 1)}, {})
    found = quality.figures([line])
    assert {way: figures[0].name for way, figures in found.items()} == {"words": "all", "empty": "all"}


def test_intervals_hold_the_figure(stories, model, language_model, tmp_path):
    found = run_text(stories, model, tmp_path, language_model=str(language_model))
    figure = found["figures"]["whole_mean"][0]
    assert figure["low"] < figure["value"] < figure["high"]
