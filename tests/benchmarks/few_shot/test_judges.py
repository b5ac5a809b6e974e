"""Judges and figures: what counts as an error, means over draws with their spread, chance and perfect answers."""

import random

import pytest
import torch

from spiritlm_pl.benchmarks.few_shot import judges
from spiritlm_pl.benchmarks.few_shot.figures import error_figures, intent_figures
from spiritlm_pl.benchmarks.few_shot.shots import ShotItem, Texts
from spiritlm_pl.benchmarks.few_shot.template import load_shot_template
from spiritlm_pl.benchmarks.few_shot.whisper_text import whisper_normaliser
from spiritlm_pl.benchmarks.items import AnswerLine
from spiritlm_pl.generation.types import Answer, Speech, Text


def item(task, answer, reference, **others):
    template = load_shot_template(task, answer)
    return ShotItem("seed0/x", (), template.output, (), reference, template=template, texts=Texts(["a"]), **others)


def written(text):
    return Answer([Text(text)], "stop")


def test_word_errors_plain_and_after_whispers_normaliser(tiny_lm):
    judge = judges.judge_asr(None)
    (found,) = judge(
        [item("asr", "text", "mister smith can't go")], [written("<START Transcript> Mr. Smith can not go <END>")]
    )
    assert found.counts["wer"] == (3.0, 4.0)  # mr, can, not
    assert found.counts["wer_whisper"] == (0.0, 5.0)
    assert found.texts["transcript"] == "Mr. Smith can not go"


def test_the_language_of_a_corpus_chooses_the_normaliser():
    (german,) = judges.judge_asr(None)([item("asr", "text", "mr", language="de")], [written("mister <END>")])
    (english,) = judges.judge_asr(None)([item("asr", "text", "mr", language="en")], [written("mister <END>")])
    assert german.counts["wer_whisper"] == (1.0, 1.0) and english.counts["wer_whisper"] == (0.0, 1.0)


def test_spellings_of_whisper(tmp_path):
    (tmp_path / "normalizer.json").write_text('{"colour": "color"}')
    assert whisper_normaliser("en", tmp_path / "normalizer.json")("the colour") == "the color"
    assert whisper_normaliser()("the colour") == "the colour"
    with pytest.raises(FileNotFoundError, match="spellings must be"):
        judges.judge_asr(None, spellings=str(tmp_path / "none.json"))
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ValueError, match="must be a JSON object of words"):
        whisper_normaliser("en", tmp_path / "list.json")
    with pytest.raises(ValueError, match="must be left out for language de"):
        judges.judge_asr(None, language="de", spellings="x.json")


@pytest.mark.parametrize(
    "words, left",
    [("the cat stop", "the cat"), ("stop", ""), ("the nonstop", "the nonstop"), ("stop it", "stop it"), ("", "")],
)
def test_the_stop_word_is_taken_off_the_end(words, left):
    assert judges.without_stop(words, "stop") == left


class Speaks:
    vocoder = object()


@pytest.fixture
def ear(monkeypatch):
    """A recogniser that hears a word for each 1000 samples."""

    def build(texts):
        return lambda waveform: " ".join(["the", "cat", "sat", "stop"][: len(waveform) // 1000])

    monkeypatch.setattr(judges, "pocketsphinx_recogniser", build)


def test_spoken_answers_are_heard(ear, tmp_path):
    from spiritlm_pl.corpora.audio import save_wav

    save_wav(tmp_path / "said.wav", 0.1 * torch.randn(2000))
    asked = item("tts", "audio", "The cat sat.", recording=tmp_path / "said.wav")
    answers = [Answer([Speech(torch.zeros(length), 16_000)], "stop") for length in (3000, 4000, 1000)]
    found = judges.judge_tts(Speaks())([asked] * 4, [*answers, Answer([], "length")])
    assert [one.counts["wer"] for one in found] == [(0.0, 3.0), (0.0, 3.0), (2.0, 3.0), (3.0, 3.0)]
    assert found[3].counts["cer"] == (11.0, 11.0) and found[1].texts["transcript"] == "the cat sat"
    assert all(one.counts["recording_wer"] == (1.0, 3.0) for one in found)
    half = judges.judge_tts(Speaks())([asked], [Answer([Speech(torch.zeros(4000), 32_000)], "stop")])
    assert half[0].counts["wer"] == (1.0, 3.0)  # at the recogniser's rate


def test_judges_of_speech_that_cannot_judge(ear, monkeypatch):
    silent = Speaks()
    silent.vocoder = None
    with pytest.raises(ValueError, match="must have a vocoder"):
        judges.judge_tts(silent)
    with pytest.raises(ValueError, match="whisper must be a folder"):
        judges.judge_tts(Speaks(), whisper="none")
    with pytest.raises(ValueError, match="recordings must be true or false"):
        judges.judge_tts(Speaks(), recordings="yes")
    german, empty = item("tts", "audio", "ja", language="de"), item("tts", "audio", "...")
    found = judges.judge_tts(Speaks())([german, empty], [Answer([], "stop")] * 2)
    assert "whisper must be given for language de" in str(found[0]) and "must have words" in str(found[1])
    monkeypatch.setattr(judges, "pocketsphinx_recogniser", lambda texts: None)
    (unknown,) = judges.judge_tts(Speaks())([item("tts", "audio", "xyz")], [Answer([], "stop")])
    assert "knows none of the words" in str(unknown)


def test_labels_match_whatever_their_case_and_spaces():
    template = load_shot_template("intents", "label")
    asked = ShotItem("x", (), "text", (), "Stop  music", template=template, texts=Texts(["Stop  music", "go on"]))
    answers = [written(text) for text in ("A:stop music", "A: go on", "A:stop music now", "")]
    found = judges.judge_intents(None)([asked] * 4, answers)
    assert [one.counts["exact_match"][0] for one in found] == [1, 0, 0, 0]
    assert [one.counts["is_label"][0] for one in found] == [1, 1, 0, 0]


def errors(seed, name, wrong, words, split="test", shots=10):
    counts = {"wer": (float(wrong), float(words))}
    return AnswerLine(f"seed{seed}/{name}", {"seed": seed, "item": name, "split": split}, counts, {}, num_shots=shots)


def by_name(figures):
    return {figure.name: figure for figure in figures}


def test_errors_are_means_over_draws_with_their_spread():
    lines = [errors(0, "a", 1, 10), errors(0, "b", 5, 10, shots=4), errors(1, "a", 3, 10), errors(1, "b", 7, 10)]
    found = by_name(error_figures(lines)["wer"])
    assert found["seed0"].value == 30 and found["seed1"].value == 50 and found["all"].value == 40
    assert found["spread_of_seeds"].value == pytest.approx(200**0.5) and found["all"].count == 2
    assert found["all"].low < 40 < found["all"].high and found["shots_kept"].value == 8.5
    assert found["all"].low <= found["seed0"].low  # other draws count for the interval, too


def test_splits_count_alike_whatever_their_size():
    lines = [errors(0, str(n), 1, 10, "test-clean") for n in range(9)] + [errors(0, "x", 3, 10, "test-other")]
    found = by_name(error_figures(lines)["wer"])
    assert found["all"].value == pytest.approx(20) and found["test-clean"].value == pytest.approx(10)
    assert found["test-other"].value == pytest.approx(30) and "spread_of_seeds" not in found


def test_recordings_stand_beside_the_answers():
    line = errors(0, "a", 5, 10)
    line.counts["recording_wer"] = (1.0, 10.0)
    found = error_figures([line])
    assert list(found) == ["wer"] and by_name(found["wer"])["recordings"].value == 10


def intent(seed, number, meant, given, labels=4):
    right = float(meant == given)
    return AnswerLine(
        f"seed{seed}/{number}",
        {"seed": seed, "item": str(number), "split": "test", "label_in_shots": 1, "num_labels": labels},
        {"exact_match": (right, 1.0), "is_label": (1.0, 1.0)},
        {"reference": meant, "prediction": given},
    )


def test_macro_f1_counts_every_label_alike():
    pairs = [("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"), ("c", "other")]
    found = intent_figures([intent(0, number, *pair) for number, pair in enumerate(pairs)])
    f1 = [2 * 2 / (3 + 2), 2 * 1 / (1 + 2), 0]
    assert by_name(found["macro_f1"])["all"].value == pytest.approx(100 * sum(f1) / 3)
    assert by_name(found["exact_match"])["all"].value == pytest.approx(60)
    assert by_name(found["exact_match"])["commonest_label"].value == pytest.approx(60)


@pytest.mark.parametrize("draw_seed", range(3))
def test_guessing_gives_chance_and_its_interval_holds_it(draw_seed):
    draw, names = random.Random(draw_seed), ["a", "b", "c", "d"]
    lines = [intent(seed, n, names[n % 4], draw.choice(names)) for seed in range(3) for n in range(200)]
    found = intent_figures(lines)
    whole = by_name(found["exact_match"])
    assert whole["chance"].value == 25 and whole["all"].low < 25 < whole["all"].high
    assert whole["all"].high - whole["all"].low < 18
    f1 = by_name(found["macro_f1"])["all"]
    assert f1.low < 25 < f1.high


def test_perfect_answers_give_100_with_an_honest_interval():
    lines = [intent(seed, n, "ab"[n % 2], "ab"[n % 2]) for seed in range(2) for n in range(20)]
    found = intent_figures(lines)
    all_right = by_name(found["exact_match"])["all"]
    assert all_right.value == 100 and 80 < all_right.low < 90 and all_right.high == 100
    assert by_name(found["macro_f1"])["all"].value == 100


def test_texts_without_words_give_no_figure():
    lines = [errors(0, "a", 0, 0), errors(0, "b", 1, 2)]
    lines[0].counts["cer"] = (0.0, 0.0)
    found = error_figures(lines)
    assert list(found) == ["wer"] and by_name(found["wer"])["all"].value == 50


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    """Items of different difficulty after shots of different use: 95 % is asked, three draws give nearly that."""
    draw, held = random.Random(0), 0
    for _ in range(60):
        hard, use = [draw.gauss(0, 0.15) for _ in range(40)], [draw.gauss(0, 0.05) for _ in range(3)]
        lines = []
        for seed in range(3):
            for number in range(40):
                chance = min(max(0.4 + hard[number] + use[seed], 0), 1)
                lines.append(errors(seed, str(number), sum(draw.random() < chance for _ in range(10)), 10))
        found = error_figures(lines)["wer"][0]
        held += found.low < 40 < found.high
    assert held >= 51
