"""Prompts that a model answers: shots that fit, judged answers, saved audio, and items that fail alone."""

import json

import pytest
import torch

from spiritlm_pl.benchmarks.answers import AnswerBenchmark, Judged, fitting, save_answer
from spiritlm_pl.benchmarks.contract import Info, RunSettings
from spiritlm_pl.benchmarks.items import PromptItem, Reading
from spiritlm_pl.benchmarks.run import run_benchmark
from spiritlm_pl.generation.sampling import context_length
from spiritlm_pl.generation.settings import GenerationSettings
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.generation.types import Answer, Speech, Text

INFO = Info(title="T", measures="t", licence="none", source="here", needs="language model", size="4", chance=None)
SAMPLING = GenerationSettings(max_new_tokens=6)


def read_prompts(folder, count=4):
    items = [
        PromptItem(
            f"p/{number}",
            (Speech(folder / f"{number}.wav"),),
            "text" if number % 2 else "speech",
            ((Text("a dog"), Speech(folder / "6.wav")), (Text("a cat"),)),
            "the cat",
            {"half": number % 2},
        )
        for number in range(count)
    ]
    return Reading(items, "prompts")


def judge_length(model, least=1):
    """Count an answer as right if it has some tokens."""

    def judge(items, answers):
        tokens = [sum(len(piece.tokens or ()) for piece in answer) for answer in answers]
        return [
            ValueError("nothing to judge")
            if item.id == "p/3"
            else Judged({"long": (count >= least, 1)}, {"heard": "x"})
            for item, count in zip(items, tokens, strict=True)
        ]

    return judge


@pytest.fixture
def prompts():
    return AnswerBenchmark(INFO, read_prompts, judge_length, SAMPLING)


def run(prompts, recordings, model, out, settings=None, **options):
    return run_benchmark("prompts", prompts, recordings, options, model, "tiny", out, None, settings)


def test_answers_are_judged_and_kept(prompts, recordings, model, tmp_path):
    found = run(prompts, recordings, model, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "prompts/items.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["p/0", "p/1", "p/2", "p/3"]
    assert lines[3]["error"] == "ValueError: nothing to judge" and found["num_skipped"] == 1
    assert found["num_scored"] == 3 and found["figures"]["long"][0]["count"] == 3
    for line in lines[:3]:
        assert line["texts"].items() >= {"reference": "the cat", "heard": "x"}.items() and line["num_shots"] == 2
        assert len(line["tokens"]) <= 6 and line["counts"]["long"][1] == 1
    again = run(prompts, recordings, model, tmp_path / "again")
    assert again["figures"] == found["figures"]  # sampled with a seed of each prompt's own


def test_options_reach_reader_judge_and_sampling(prompts, recordings, model, tmp_path):
    assert prompts.options[:2] == ("count", "least") and "temperature" in prompts.options
    found = run(prompts, recordings, model, tmp_path, count=2, least=3, max_new_tokens=2)
    assert found["num_scored"] == 2 and found["figures"]["long"][0]["value"] == 0
    with pytest.raises(ValueError, match="options must be among count, least, temperature.*but are shots"):
        run(prompts, recordings, model, tmp_path / "b", shots=3)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        run(prompts, recordings, model, tmp_path / "c", temperature=0.0)


def test_the_first_shots_are_left_out_if_not_all_fit(model):
    context = context_length(model.model)
    shots = [(Text("the cat sat on the mat " * 4),)] * 40
    encoded, kept = fitting(model, shots, (Text("a dog"),), "text", SAMPLING)
    assert 0 < kept < 40 and len(encoded.tokens) + 6 <= context
    one_more = model.encode_prompt([*(piece for shot in shots[: kept + 1] for piece in shot), Text("a dog")], "text")
    assert len(one_more.tokens) + 6 > context
    assert fitting(model, [], (Text("a dog"),), "text", SAMPLING)[1] == 0
    with pytest.raises(ValueError, match="prompt must be shorter than the model's context"):
        fitting(model, shots, (Text("the cat " * context),), "text", SAMPLING)


def test_a_broken_recording_costs_its_item_alone(prompts, recordings, model, tmp_path):
    (tmp_path / "data").mkdir()
    for number in (0, 1, 2, 3, 6):
        (tmp_path / "data" / f"{number}.wav").write_bytes((recordings / f"{number}.wav").read_bytes())
    (tmp_path / "data/2.wav").write_text("no audio")
    found = run(prompts, tmp_path / "data", model, tmp_path)
    assert found["num_scored"] == 2 and found["num_skipped"] == 2
    assert any("2.wav" in reason for reason in found["skipped"])


def test_spoken_answers_are_saved(prompts, recordings, model, tmp_path, monkeypatch):
    def with_audio(self, encoded, output, settings, seeds, **others):
        answers = generate(self, encoded, output, settings, seeds=seeds)
        for (answer,) in answers:
            answer[:] = [Speech(torch.zeros(1600), tokens=p.tokens) if isinstance(p, Speech) else p for p in answer]
        return answers

    generate = SpiritLM.generate_encoded
    monkeypatch.setattr(SpiritLM, "generate_encoded", with_audio)
    run(prompts, recordings, model, tmp_path, RunSettings(answers=tmp_path / "audio"))
    names = sorted(path.name for path in (tmp_path / "audio").iterdir())
    assert [name.rpartition("-")[0] for name in names] == ["p_0", "p_2"]


def test_saved_answers_of_two_items_are_two_files(tmp_path):
    names = ("a/b", "a_b", "a b", "a/b" * 200, "\u4e2d" * 200)
    for name in names:
        save_answer(tmp_path, name, Answer([Speech(torch.zeros(1600), 16_000)], "stop"))
    assert len([path for path in tmp_path.iterdir() if path.suffix == ".wav"]) == len(names)
    save_answer(tmp_path, "a/b", Answer([Speech(torch.zeros(1600), 16_000)], "stop"))
    assert len(list(tmp_path.iterdir())) == len(names)
