"""From the archive to figures: an oracle, a guesser, tries, originals, files beside the summary, an interrupted run."""

import json
import random
from dataclasses import replace

import pytest
import torch

from spiritlm_pl.benchmarks.run import run_benchmark
from spiritlm_pl.benchmarks.stsp import judging
from spiritlm_pl.benchmarks.stsp.benchmark import SentimentBenchmark
from spiritlm_pl.benchmarks.stsp.suites import (
    STSP,
    STSP_FEW_SHOT,
    STSP_SPEECH_TO_TEXT,
    STSP_TEXT,
    STSP_TEXT_FEW_SHOT,
    STSP_TEXT_TO_SPEECH,
)
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.generation.types import Answer, Speech, Text

SENTIMENTS = {"positive": "I love this lamp", "negative": "Sorry this is lost", "neutral": "The lamp has a door"}
SHORT = {"max_new_tokens": 30}


def run(benchmark, archive, model, out, options=None, name="stsp"):
    found = run_benchmark(name, benchmark, archive, SHORT | (options or {}), model, "mine", out)
    return found | {"by_name": {figure["name"]: figure["value"] for figure in found["figures"]["kept"]}}


@pytest.fixture
def answered(monkeypatch):
    """Lets a function answer instead of the model: of a prompt, as text."""

    def by(function):
        def generate(self, encoded, output, settings, seeds, **others):
            return [[Answer(function(seed, settings), "stop")] for seed in seeds]

        monkeypatch.setattr(SpiritLM, "generate_encoded", generate)

    return by


@pytest.mark.parametrize(
    "benchmark", [STSP, STSP_TEXT, STSP_TEXT_TO_SPEECH, STSP_SPEECH_TO_TEXT], ids=lambda one: one.direction.file
)
def test_every_direction_runs_and_goes_on(benchmark, archive, speaking, tmp_path, monkeypatch) -> None:
    found = run(benchmark, archive, speaking, tmp_path)
    figures = found["by_name"]
    assert found["num_scored"] == 18 and found["num_skipped"] == 0
    assert figures["chance"] == pytest.approx(100 / 3) == figures["most_frequent_class"]
    assert figures["mean_recall"] == pytest.approx(figures["all"])  # as many prompts of each
    rows = [value for name, value in figures.items() if name.startswith("confusion/positive/")]
    assert sum(rows) == pytest.approx(100)
    if benchmark.direction.answer == "text":
        assert figures["judge_on_originals"] == 100  # it has learnt such texts
    before = (tmp_path / "stsp/items.jsonl").read_text()
    (tmp_path / "stsp/items.jsonl").write_text("".join(before.splitlines(keepends=True)[:7]))
    again = run(benchmark, archive, speaking, tmp_path)
    assert (tmp_path / "stsp/items.jsonl").read_text() == before and again["figures"] == found["figures"]
    assert (tmp_path / "stsp/confusion.png").stat().st_size > 3000


def test_an_oracle_keeps_all_and_its_opposite_nothing(archive, speaking, tmp_path, monkeypatch) -> None:
    shift = 0

    def answers(self, model, items, prompts, output, sampling, options):
        texts = list(SENTIMENTS.values())
        places = [list(SENTIMENTS).index(item.reference) for item in items]
        return [Answer([Text(texts[(place + shift) % 3])], "stop") for place in places]

    monkeypatch.setattr(SentimentBenchmark, "answers", answers)
    assert run(STSP_TEXT, archive, speaking, tmp_path / "right")["by_name"]["all"] == 100
    shift = 1
    wrong = run(STSP_TEXT, archive, speaking, tmp_path / "wrong")["by_name"]
    assert wrong["all"] == 0 and wrong["confusion/positive/negative"] == 100 and wrong["recall/positive"] == 0
    assert wrong["judge_on_originals"] == 100


def test_a_guesser_gets_chance(archive, speaking, tmp_path, answered) -> None:
    """Prompts have random numbers of their own: with the same ones for all, all answers would be one."""
    answered(lambda seed, _: [Text(random.Random(seed).choice(list(SENTIMENTS.values())))])
    lines = []
    for number in range(12):
        out = tmp_path / str(number)
        run_benchmark("stsp", noisy(number), archive, {}, speaking, "guesser", out)
        lines += [json.loads(line) for line in (out / "stsp/items.jsonl").read_text().splitlines()]
    found = STSP_TEXT.figures(lines)["kept"][0]
    assert found.count == 216 and found.low < 100 / 3 < found.high and found.high - found.low < 14
    assert len({line["texts"]["pred"] for line in lines[:18]}) == 3


def noisy(seed):
    return replace(STSP_TEXT, sampling=replace(STSP_TEXT.sampling, seed=seed))


def test_empty_answers_are_tried_again_and_then_wrong(archive, speaking, tmp_path, answered) -> None:
    asked = []

    def third_time(seed, settings):
        asked.append(settings.seed)
        return [Text(SENTIMENTS["positive"])] if settings.seed == 2 else [Text("  ")]

    answered(third_time)
    found = run(STSP_TEXT, archive, speaking, tmp_path / "three")["by_name"]
    assert sorted(asked) == [0] * 18 + [1] * 18 + [2] * 18
    assert found["answered"] == 100 and found["recall/positive"] == 100 and found["all"] == pytest.approx(100 / 3)
    found = run(STSP_TEXT, archive, speaking, tmp_path / "two", {"tries": 2})["by_name"]
    assert found["answered"] == 0 == found["all"] and found["confusion/neutral/none"] == 100
    predictions = (tmp_path / "two/stsp/predictions/emov.jsonl").read_text().splitlines()
    assert json.loads(predictions[0]) == {"id": -7600, "pred": None}
    asked.clear()
    run(STSP_TEXT, archive, speaking, tmp_path / "greedy", {"greedy": True})
    assert set(asked) == {0}  # the same answer would come again
    with pytest.raises(ValueError, match="tries must be a number of at least 1, but are 0"):
        run(STSP_TEXT, archive, speaking, tmp_path / "none", {"tries": 0})


def test_published_limits_of_new_tokens(archive, speaking, tmp_path, monkeypatch) -> None:
    limits = []
    generate = SpiritLM.generate_encoded

    def short(self, encoded, output, settings, seeds, **others):
        limits.append(settings)
        return generate(self, encoded, output, replace(settings, max_new_tokens=5), seeds=seeds)

    monkeypatch.setattr(SpiritLM, "generate_encoded", short)
    for benchmark, number in ((STSP_TEXT_TO_SPEECH, 300), (STSP, 300), (STSP_TEXT, None)):
        limits.clear()
        run_benchmark("stsp", benchmark, archive, {}, speaking, "mine", tmp_path / benchmark.direction.file)
        assert {one.max_new_tokens for one in limits} == {number}
        assert {(one.temperature, one.top_p, one.top_k) for one in limits} == {(0.8, 0.95, 0)}


def test_shots_that_do_not_fit_are_told(archive, speaking, tmp_path) -> None:
    found = run(STSP_FEW_SHOT, archive, speaking, tmp_path)["by_name"]  # a context of 128 tokens
    assert found["fewest_shots_that_fitted"] < 9
    line = json.loads((tmp_path / "stsp/items.jsonl").read_text().splitlines()[0])
    assert line["labels"]["shots"] == 9 and line["num_shots"] < 9


def test_a_written_answer_after_shots_ends_with_its_line(archive) -> None:
    answer = Answer([Text("so much\nSorry this cat is lost")], "length")
    (item, *_), (plain, *_) = STSP_TEXT_FEW_SHOT.read(archive, {}).items, STSP_TEXT.read(archive, {}).items
    assert judging.said(item, answer) == "so much"
    assert judging.said(plain, answer) == "so much\nSorry this cat is lost"


def test_other_settings_and_other_judges_are_other_results(own_archive, speaking, tmp_path, answered) -> None:
    asked = []
    answered(lambda seed, _: asked.append(seed) or [Text("a lamp")])
    for number in (18, 18):
        run(STSP_TEXT, own_archive, speaking, tmp_path)
        assert len(asked) == number
    weights = own_archive / "model/text_classifier/model.safetensors"
    weights.write_bytes(weights.read_bytes())  # as if it had been trained again
    run(STSP_TEXT, own_archive, speaking, tmp_path)
    assert len(asked) == 36
    with pytest.raises(ValueError, match="has results with options"):
        run(STSP_TEXT, own_archive, speaking, tmp_path, {"tries": 1})


def test_answers_of_a_model_without_a_vocoder_cannot_be_heard(archive, model, tmp_path) -> None:
    with pytest.raises(ValueError, match="must have a vocoder"):
        run(STSP, archive, model, tmp_path)


def test_what_a_judge_cannot_hear_is_an_error_of_its_item(archive, speaking, tmp_path, monkeypatch) -> None:
    judge = judging.open_judge(STSP.read(archive, {}).items[0].judge, "cpu")
    monkeypatch.setattr(judge.network.classifier, "bias", torch.nn.Parameter(torch.full((4,), torch.nan)))
    with pytest.raises(ValueError, match="all failed, the first with: ValueError: the judge's figures must be numbers"):
        run(STSP, archive, speaking, tmp_path)


def test_silence_without_audio_is_empty(archive) -> None:
    item = STSP.read(archive, {}).items[0]
    assert judging.said(item, Answer([], "stop")) is None
    assert judging.said(item, Answer([Speech(torch.zeros(0))], "stop")) is None
    wave, rate = judging.said(item, Answer([Speech(torch.zeros(5), 24_000)], "stop"))
    assert len(wave) == 5 and rate == 24_000
