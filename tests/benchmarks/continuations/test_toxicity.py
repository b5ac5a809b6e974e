"""Added toxicity: chance, a model that adds none and one that always does, and bad input."""

import json
import random

import pytest

from spiritlm_pl.benchmarks.continuations import toxicity
from spiritlm_pl.benchmarks.continuations.suites import TOXICITY, TOXICITY_TEXT
from spiritlm_pl.benchmarks.items import AnswerLine
from spiritlm_pl.benchmarks.run import run_benchmark


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("a bad dog\nthe cat\nthe bad bad cat\na dog ran\n")
    return file


@pytest.fixture
def word_list(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("bad\n")
    return str(file)


def run_text(prompts, model, out, **options):
    return run_benchmark("toxicity_text", TOXICITY_TEXT, prompts, options, model, "tiny", out)


def say(monkeypatch, *texts):
    answers = iter(texts)
    monkeypatch.setattr(toxicity, "written_answer", lambda answer: next(answers))


def figure(found, way, place=0):
    one = found["figures"][way][place]
    return one["name"], round(one["value"], 2)


def test_more_toxic_words_than_in_the_prompt_are_added(prompts, word_list, model, tmp_path, monkeypatch):
    say(monkeypatch, "bad", "very Bad!", "bad bad bad", "off")
    found = run_text(prompts, model, tmp_path, word_list=word_list)
    assert figure(found, "added") == ("all", 50)
    assert (figure(found, "toxic"), figure(found, "toxic", 1)) == (("all", 75), ("prompt", 50))
    assert (figure(found, "toxic_words"), figure(found, "toxic_words", 1)) == (("all", 71.43), ("prompt", 25))
    assert figure(found, "empty") == ("all", 0)
    line = json.loads((tmp_path / "toxicity_text" / "items.jsonl").read_text().splitlines()[2])
    assert line["counts"]["toxic_words"] == [3, 3]
    assert line["counts"]["prompt_toxic_words"] == [2, 4]
    assert line["texts"]["toxic"] == "bad; bad; bad"
    assert line["texts"]["prompt"] == "the bad bad cat"


def test_a_model_that_repeats_its_prompt_or_says_nothing_adds_nothing(prompts, word_list, model, tmp_path, monkeypatch):
    say(monkeypatch, "a bad dog", "the cat", "the bad bad cat", "a dog ran")
    assert figure(run_text(prompts, model, tmp_path / "a", word_list=word_list), "added") == ("all", 0)
    say(monkeypatch, "", "", "...", "")
    found = run_text(prompts, model, tmp_path / "b", word_list=word_list)
    assert (figure(found, "added"), figure(found, "empty")) == (("all", 0), ("all", 100))
    assert "toxic_words" not in found["figures"]  # else that of the prompts would come first


def test_a_model_that_always_adds_has_a_hundred_percent(prompts, word_list, model, tmp_path, monkeypatch):
    say(monkeypatch, *["bad bad bad"] * 4)
    assert figure(run_text(prompts, model, tmp_path, word_list=word_list), "added") == ("all", 100)


def test_continuations_drawn_as_the_prompts_add_as_often_as_they_take_away():
    draw = random.Random(0)
    pairs = [(draw.randint(0, 2), draw.randint(0, 2)) for _ in range(3000)]
    lines = [
        AnswerLine(str(place), {}, dict(toxicity._compared("a", "a", *map(_toxic, pair)).counts), {})
        for place, pair in enumerate(pairs)
    ]
    found = toxicity.figures(lines)["added"][0]
    assert found.low < 100 / 3 < found.high


def _toxic(count):
    return toxicity.Toxic(count, 3, "")


def test_a_classifier_counts_texts(prompts, classifier, model, tmp_path, monkeypatch):
    say(monkeypatch, "bad", "", "cat", "dog")
    found = run_text(prompts, model, tmp_path, classifier=str(classifier), label="toxic", threshold=0.01)
    assert (figure(found, "added"), figure(found, "toxic"), figure(found, "toxic", 1)) == (
        ("all", 0), ("all", 75), ("prompt", 100),
    )  # fmt: skip
    assert "toxic_words" not in found["figures"]


def test_spoken_prompts_and_continuations_are_heard_apart(stories, speaker, word_list, tmp_path, monkeypatch):
    heard = []

    def hear(waveform, rate):
        heard.append(len(waveform) / rate)
        return "bad" if len(heard) % 2 == 0 else "good"

    monkeypatch.setattr(toxicity, "transcriber", lambda *options: hear)
    options = {"word_list": word_list, "vocabulary": "x", "max_new_tokens": 20, "cache": str(tmp_path / "cache")}
    found = run_benchmark("toxicity", TOXICITY, stories, options, speaker, "tiny", tmp_path / "out")
    assert (found["num_scored"], figure(found, "added")) == (12, ("all", 100))
    assert heard[0] == pytest.approx(1.0)
    assert 0 < heard[1] < 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "word_list must be a file of toxic words, or classifier .* neither is given"),
        ({"word_list": "/nowhere"}, "word_list must be a file with a word or phrase a line, but is /nowhere"),
        ({"classifier": "/nowhere", "label": "x"}, "classifier must be a model folder or a hub name, but is /nowhere"),
        ({"wordlist": "x"}, "options must be among .* but are wordlist"),
    ],
)
def test_wrong_options_are_one_line(prompts, model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run_text(prompts, model, tmp_path, **options)


def test_results_of_another_list_of_the_same_name_are_not_continued(prompts, word_list, model, tmp_path):
    run_text(prompts, model, tmp_path / "out", word_list=word_list)
    with open(word_list, "a") as file:
        file.write("cat\n")
    with pytest.raises(ValueError, match="has results of another word_list, whose files have changed or are missing"):
        run_text(prompts, model, tmp_path / "out", word_list=word_list)
