"""Runs from recordings to figures: an oracle, contexts that lose shots, answers that stop, broken items."""

import json
from dataclasses import replace

import pytest
import torch

from spiritlm_pl.benchmarks.contract import RunSettings
from spiritlm_pl.benchmarks.few_shot import judges
from spiritlm_pl.benchmarks.few_shot.suites import ASR, INTENTS, TTS
from spiritlm_pl.benchmarks.report import overview, published, read_summaries
from spiritlm_pl.benchmarks.run import run_benchmark
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.generation.types import Answer, Speech, Text

SMALL = {"shots": 2, "shot_seeds": 2, "max_new_tokens": 12, "context": 128}


def start(name, benchmark, folder, model, out, **options):
    return run_benchmark(name, benchmark, folder, options, model, "tiny", out, None, RunSettings(batch_size=8))


def answer_with(monkeypatch, answers):
    """Let the model answer, one after the other, what is given."""
    given = iter(answers)

    def generate_encoded(self, encoded, output="any", settings=None, progress=None, **others):
        return [[next(given)] for _ in encoded]

    monkeypatch.setattr(SpiritLM, "generate_encoded", generate_encoded)


def value(found, way, name="all"):
    return next(figure["value"] for figure in found["figures"][way] if figure["name"] == name)


def test_an_oracle_makes_no_errors(monkeypatch, librispeech, fluent, model, tmp_path):
    items = ASR.read(librispeech, SMALL | {"cache": None}).items
    answer_with(
        monkeypatch, [Answer([Text(f"<START Transcript> {item.reference} <END> more")], "stop") for item in items]
    )
    found = start("asr", ASR, librispeech, model, tmp_path / "out", **SMALL)
    assert found["num_scored"] == 12 and found["published"] == "wer_whisper"
    assert value(found, "wer_whisper") == value(found, "wer") == value(found, "cer") == 0
    items = INTENTS.read(fluent, SMALL).items
    answer_with(monkeypatch, [Answer([Text(f"A:{item.reference}")], "stop") for item in items])
    found = start("intents", INTENTS, fluent, model, tmp_path / "out", **SMALL)
    assert value(found, "exact_match") == value(found, "macro_f1") == 100
    table = overview(read_summaries([tmp_path / "out"]))
    assert "100.0 (61.0 to 100.0)" in table.markdown()


def test_a_spoken_oracle_makes_no_errors(monkeypatch, librispeech, model, tmp_path):
    options = SMALL | {"stop_audio": str(librispeech / "LibriSpeech/test-clean/19/198/19-198-0002.flac")}
    items = TTS.read(librispeech, options).items
    said = [torch.full((1600,), 0.001 * (number + 1)) for number in range(len(items))]
    heard = {round(1000 * float(waveform[0])): item.reference for waveform, item in zip(said, items, strict=True)}

    def ear(texts):
        return lambda waveform: heard.get(round(1000 * float(waveform[0])), "") + " stop"

    monkeypatch.setattr(judges, "pocketsphinx_recogniser", ear)
    monkeypatch.setattr(judges, "check_speaks", lambda model: None)
    answer_with(monkeypatch, [Answer([Speech(waveform, 16_000)], "stop") for waveform in said])
    found = start("tts", TTS, librispeech, model, tmp_path, **options)
    assert value(found, "cer") == value(found, "wer") == 0 and value(found, "cer", "recordings") > 0


def test_a_model_that_was_not_trained_runs_through(librispeech, model, tmp_path):
    found = start("asr", ASR, librispeech, model, tmp_path, **SMALL)
    lines = [json.loads(line) for line in (tmp_path / "asr/items.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines][:2] == ["seed0/19-198-0001", "seed0/19-198-0002"] and len(lines) == 12
    assert all(len(line["tokens"]) <= 12 for line in lines) and value(found, "wer") > 50
    names = [figure["name"] for figure in found["figures"]["wer"]]
    expected = ["all", "spread_of_seeds", "seed0", "seed1", "test-clean", "test-other", "shots_kept"]
    assert names == [*expected, "answers_without_end"]
    assert any("shots are drawn from train-clean-100 2 times" in note for note in found["notes"])


def test_a_context_that_is_too_short_loses_shots_and_tells(librispeech, model, tmp_path):
    kept = {}
    for context in (60, 100, 128):
        found = start("asr", ASR, librispeech, model, tmp_path / str(context), **(SMALL | {"context": context}))
        kept[context] = value(found, "wer", "shots_kept")
    assert 0 <= kept[60] < kept[100] <= kept[128] <= 2


def test_answers_stop_at_the_text_of_the_template(monkeypatch, librispeech, model, tmp_path):
    given = []

    def generate_encoded(self, encoded, output="any", settings=None, progress=None, **others):
        given.append(settings)
        return [[Answer([], "stop")] for _ in encoded]

    monkeypatch.setattr(SpiritLM, "generate_encoded", generate_encoded)
    start("asr", ASR, librispeech, model, tmp_path / "a", **SMALL)
    assert given[0].stop == ("<END>",) and given[0].ends_at_change and given[0].greedy
    own = tmp_path / "own.yaml"
    own.write_text('shot: "[Speech]{audio}[Text]{text} ;"\nquery: "[Speech]{audio}[Text]"\n')
    options = SMALL | {"template": str(own), "ends_at_change": False, "greedy": False}
    start("asr", ASR, librispeech, model, tmp_path / "b", **options)
    assert given[-1].stop == (";",) and not given[-1].ends_at_change and not given[-1].greedy


def test_items_that_cannot_be_asked_count_as_wrong_beside(monkeypatch, librispeech, fluent, model, tmp_path):
    chapter = librispeech / "LibriSpeech/test-clean/19/198"
    (chapter / "19-198-0001.flac").write_bytes(b"no audio")
    options = SMALL | {"split": "test-clean"}
    items = [item for item in ASR.read(librispeech, options).items if item.labels["item"] != "19-198-0001"]
    answer_with(monkeypatch, [Answer([Text(item.reference)], "stop") for item in items])
    found = start("asr", ASR, librispeech, model, tmp_path, **options)
    assert found["num_skipped"] == 2 and value(found, "wer") == 0
    assert found["skipped_as_wrong"]["wer"] == pytest.approx(100 * 3 / 8)  # 3 of the 8 words
    audio = fluent / "fluent_speech_commands_dataset/wavs/speakers/s1"
    (audio / "test0.wav").write_bytes(b"no audio")
    (audio / "test1.wav").unlink()
    items = [item for item in INTENTS.read(fluent, SMALL).items if "test0" not in item.id]
    answer_with(monkeypatch, [Answer([Text(item.reference)], "stop") for item in items])
    found = start("intents", INTENTS, fluent, model, tmp_path, **SMALL)
    assert found["num_skipped"] == 3 and value(found, "exact_match") == 100
    assert found["skipped_as_wrong"]["exact_match"] == pytest.approx(100 * 4 / 6)


def test_unreadable_rows_are_errors_where_lower_is_better(monkeypatch, librispeech, model, tmp_path):
    (librispeech / "LibriSpeech/test-clean/19/198/19-198-0001.flac").unlink()
    options = SMALL | {"split": "test-clean"}
    items = ASR.read(librispeech, options).items
    answer_with(monkeypatch, [Answer([Text(item.reference)], "stop") for item in items])
    found = start("asr", ASR, librispeech, model, tmp_path, **options)
    assert found["num_skipped"] == 1 and found["skipped_as_wrong"]["wer"] == pytest.approx(100 / 3)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"context": 0}, "context must be a whole number from 1"),
        ({"context": 12}, "max_new_tokens must leave room for shots in the context of 12 tokens, but is 12 instead"),
        ({"max_new_tokens": 200}, "in the context of 128 tokens, but is 200"),
        ({"ends_at_change": "no"}, "ends_at_change must be true or false"),
    ],
)
def test_prompts_that_cannot_be(librispeech, model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        start("asr", ASR, librispeech, model, tmp_path, **(SMALL | options))


def test_a_template_that_changes_makes_other_items(librispeech, tmp_path):
    from spiritlm_pl.benchmarks.identity import content_of

    own = tmp_path / "own.yaml"
    text = 'shot: "[Speech]{audio}[Text]{text} ;"\nquery: "[Speech]{audio}[Text]"\n'
    own.write_text(text)
    options = {"shots": 0, "template": str(own)}
    before = content_of(ASR.read(librispeech, options).items[0])
    own.write_text(text.replace(";", "."))
    assert content_of(ASR.read(librispeech, options).items[0]) != before


def test_the_published_figures_are_those_of_the_paper():
    rows = [(row["model"], row["figures"]) for row in published() if "asr" in row["figures"]]
    assert rows[0] == ("Spirit LM Base 7B", {"asr": [21.9, 29.2], "tts": [45.5, 43.8], "intents": 71.9})
    assert rows[2] == ("Spirit LM Expressive 7B", {"asr": [37.9, 50.0], "tts": [52.0, 53.6], "intents": 66.2})
    assert not ASR.info.higher_is_better and not TTS.info.higher_is_better and INTENTS.info.higher_is_better
    assert ASR.context == 1024 and TTS.context == 2048 and replace(ASR).task == "asr"
