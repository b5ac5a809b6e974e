"""A run from recordings to a summary: resumed, limited, shared, with broken items, and never mixed with another's."""

import json
import shutil
from copy import deepcopy

import pytest
import torch

from spiritlm_pl.benchmarks import run
from spiritlm_pl.benchmarks.contract import RunSettings
from spiritlm_pl.benchmarks.run import Selection, run_benchmark
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.generation.spirit_lm import SpiritLM


def start(pairs, recordings, model, out, selection=None, settings=None, **options):
    return run_benchmark("pairs", pairs, recordings, options, model, "tiny", out, selection, settings)


def test_a_run_leaves_lines_from_which_its_summary_follows(pairs, recordings, model, tmp_path):
    found = start(pairs, recordings, model, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "pairs" / "items.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [*(f"pair-{n}" for n in range(6)), "text"]
    right = sum(line["scores"]["mean"][0] > line["scores"]["mean"][1] for line in lines)
    assert found["figures"]["mean"][0]["value"] == pytest.approx(100 * right / 7)
    assert found["num_scored"] == 7 and found["num_skipped"] == 0
    assert "masked_mean" not in found["figures"]  # the text has none
    assert json.loads((tmp_path / "pairs" / "summary.json").read_text()) == found
    assert found["model"] == "tiny" and found["layout"] == "pairs"


def test_an_interrupted_run_goes_on(pairs, recordings, model, tmp_path, monkeypatch):
    whole = start(pairs, recordings, model, tmp_path / "whole")
    monkeypatch.setattr(run, "CHUNK", 2)
    calls = []

    def interrupted(done, total):
        calls.append((done, total))
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_benchmark("pairs", pairs, recordings, {}, model, "tiny", tmp_path / "cut", progress=interrupted)
    assert calls == [(2, 7), (4, 7)] and not (tmp_path / "cut/pairs/summary.json").exists()
    file = tmp_path / "cut/pairs/items.jsonl"
    file.write_bytes(file.read_bytes()[:-9])  # the last line was cut off, too
    found = run_benchmark(
        "pairs", pairs, recordings, {}, model, "tiny", tmp_path / "cut", progress=lambda *done: calls.append(done)
    )
    assert calls[2:] == [(2, 4), (4, 4)] and len(file.read_text().splitlines()) == 7
    assert found["figures"]["mean"] == whole["figures"]["mean"]
    start(pairs, recordings, model, tmp_path / "cut")  # nothing is left to do
    assert len(file.read_text().splitlines()) == 7


def test_broken_items_are_skipped_and_stay_in_the_denominator(pairs, recordings, model, tmp_path):
    save_wav(recordings / "silent.wav", torch.zeros(8000))
    (recordings / "text.wav").write_text("no audio")
    broken = ("silent.wav", "text.wav", "missing.wav")
    found = start(pairs, recordings, model, tmp_path, broken=broken)
    assert found["num_scored"] == 7 and found["num_skipped"] == 3
    assert found["skipped_as_wrong"]["mean"] == pytest.approx(found["figures"]["mean"][0]["value"] * 7 / 10)
    reasons = "\n".join(found["skipped"])
    assert "silent" in reasons and "text.wav" in reasons and "missing.wav" in reasons
    save_wav(recordings / "missing.wav", 0.1 * torch.randn(9000))
    assert start(pairs, recordings, model, tmp_path, broken=broken)["num_scored"] == 8  # what failed is tried again


def test_several_processes_share_the_items(pairs, recordings, model, tmp_path):
    whole = start(pairs, recordings, model, tmp_path / "whole")
    for rank in (2, 0):
        assert start(pairs, recordings, model, tmp_path, Selection(rank=rank, world_size=3)) is None
    found = start(pairs, recordings, model, tmp_path, Selection(rank=1, world_size=3))
    assert found["figures"]["mean"] == whole["figures"]["mean"]
    names = sorted(file.name for file in (tmp_path / "pairs").glob("items*"))
    assert names == ["items-1.jsonl", "items-2.jsonl", "items.jsonl"]


def test_ranks_are_those_of_the_launcher(monkeypatch):
    assert Selection.of_this_process(None, 0) == Selection()
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert Selection.of_this_process(5, 1) == Selection(limit=5, seed=1, rank=3, world_size=4)


def test_a_limit_draws_the_same_items_again(pairs, recordings, model, tmp_path):
    some = start(pairs, recordings, model, tmp_path, Selection(limit=3, seed=4))
    assert some["num_scored"] == 3
    ids = [json.loads(line)["id"] for line in (tmp_path / "pairs/items.jsonl").read_text().splitlines()]
    assert start(pairs, recordings, model, tmp_path / "b", Selection(limit=3, seed=4))["figures"] == some["figures"]
    more = start(pairs, recordings, model, tmp_path)
    assert more["num_scored"] == 7
    again = [json.loads(line)["id"] for line in (tmp_path / "pairs/items.jsonl").read_text().splitlines()]
    assert again[:3] == ids and len(set(again)) == 7
    with pytest.raises(ValueError, match="--limit must be at least 1, but is 0"):
        Selection(limit=0)


def test_results_of_another_model_are_not_continued(pairs, recordings, model, tiny_lm, tmp_path):
    start(pairs, recordings, model, tmp_path, Selection(limit=3))
    network, text, vocabulary = tiny_lm
    other = type(network)(network.config).eval()
    with pytest.raises(ValueError, match="--out must be empty or of the same run, .* choose another folder"):
        start(pairs, recordings, SpiritLM(other, text, vocabulary, model.speech_tokenizer), tmp_path)
    with pytest.raises(ValueError, match="results with (items|options)"):
        start(pairs, recordings, model, tmp_path, broken=("0.wav",))
    shutil.copytree(recordings, tmp_path / "others")  # the same names, perhaps in another language
    with pytest.raises(ValueError, match="results with data"):
        start(pairs, tmp_path / "others", model, tmp_path)


def test_audio_is_tokenized_once_for_all_runs(pairs, recordings, model, tiny_lm, tmp_path, tokenizer_calls):
    settings = RunSettings(speech_tokens=tmp_path / "store")
    first = start(pairs, recordings, model, tmp_path / "a", settings=settings)
    assert len(tokenizer_calls) == 7  # seven recordings, most of them in several pairs
    second = start(pairs, recordings, model, tmp_path / "b", settings=settings)
    assert len(tokenizer_calls) == 7 and second["figures"] == first["figures"]
    network, text, vocabulary = tiny_lm
    tokenizer = deepcopy(model.speech_tokenizer)
    tokenizer.quantizer.centroids.data += 1
    other = SpiritLM(network, text, vocabulary, tokenizer)
    start(pairs, recordings, other, tmp_path / "c", settings=settings)
    assert len(tokenizer_calls) == 14 and len(list((tmp_path / "store").iterdir())) == 2


def test_a_model_without_a_speech_tokenizer_says_so(pairs, recordings, model, tmp_path):
    mute = SpiritLM(model.model, model.text_tokenizer, model.vocabulary)
    found = start(pairs, recordings, mute, tmp_path)
    assert found["num_scored"] == 1 and "audio needs the model's speech tokenizer" in next(iter(found["skipped"]))
