"""A run from recordings to a summary: resumed, limited, shared, with broken items, and never mixed with another's."""

import json
import shutil
from copy import deepcopy

import pytest
import torch

from spiritlm_pl.benchmarks import run
from spiritlm_pl.benchmarks.averages import swuggy
from spiritlm_pl.benchmarks.choices import ChoiceBenchmark
from spiritlm_pl.benchmarks.contract import Info, RunSettings
from spiritlm_pl.benchmarks.identity import JUDGES, model_identity, named_content
from spiritlm_pl.benchmarks.items import ChoiceItem, Reading
from spiritlm_pl.benchmarks.run import Selection, run_benchmark
from spiritlm_pl.benchmarks.scoring import ChoiceScorer
from spiritlm_pl.benchmarks.speech_store import network_fingerprint
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.generation.codec import SpeechCodec
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.generation.types import Speech
from spiritlm_pl.registry import find_all
from spiritlm_pl.tokenizers.features import MFCCConfig, MFCCFeatures
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer


def start(pairs, recordings, model, out, selection=None, settings=None, **options):
    return run_benchmark("pairs", pairs, recordings, options, model, "tiny", out, selection, settings)


def test_a_run_leaves_lines_from_which_its_summary_follows(pairs, recordings, model, tmp_path):
    found = start(pairs, recordings, model, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "pairs" / "items.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [*(f"pair-{n}" for n in range(6)), "text"]
    right = sum(line["scores"]["mean"][0] > line["scores"]["mean"][1] for line in lines)
    assert found["figures"]["mean"][0]["value"] == pytest.approx(100 * right / 7)
    assert found["num_scored"] == 7 and found["num_skipped"] == 0
    assert found["figures"]["masked_mean"][0]["count"] == 6  # the text has none
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
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert Selection.of_this_process(5, 1) == Selection(limit=5, seed=1, rank=3, world_size=4)
    monkeypatch.setattr("spiritlm_pl.runtime.launch.LAUNCHERS", (("OTHER_RANK", "OTHER_SIZE"),))  # one list for all
    assert Selection.of_this_process(5, 1) == Selection(limit=5, seed=1)


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


def test_two_items_of_one_id_are_refused(pairs, recordings, model, tmp_path):
    with pytest.raises(ValueError, match="ids must be unique, but .* holds 0.wav twice"):
        start(pairs, recordings, model, tmp_path, broken=("0.wav", "0.wav"))


def test_a_run_that_is_refused_leaves_the_folder_to_the_next(pairs, recordings, model, tiny_lm, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="no judge"):
        patch.setattr(ChoiceBenchmark, "scorer", lambda *_: (_ for _ in ()).throw(ValueError("no judge")))
        start(pairs, recordings, model, tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "other").mkdir()
    assert start(pairs, recordings, model, tmp_path, broken=("x.wav",))["num_scored"] == 7


def test_an_error_after_the_first_items_keeps_them(pairs, recordings, model, tmp_path, monkeypatch):
    start(pairs, recordings, model, tmp_path, Selection(limit=3))
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="no judge"):
        patch.setattr(ChoiceBenchmark, "scorer", lambda *_: (_ for _ in ()).throw(ValueError("no judge")))
        start(pairs, recordings, model, tmp_path)
    with pytest.raises(ValueError, match="results with options"):
        start(pairs, recordings, model, tmp_path, broken=("x.wav",))


def test_lines_of_nobody_knows_what_are_not_continued(pairs, recordings, model, tmp_path):
    start(pairs, recordings, model, tmp_path)
    (tmp_path / "pairs" / "identity.json").unlink()
    with pytest.raises(ValueError, match="has results without identity.json, which says of what: choose another"):
        start(pairs, recordings, model, tmp_path)


def test_results_of_another_model_are_not_continued(pairs, recordings, model, tiny_lm, tmp_path):
    start(pairs, recordings, model, tmp_path, Selection(limit=3))
    network, text, vocabulary = tiny_lm
    other = type(network)(network.config).eval()
    with pytest.raises(ValueError, match="OUT must be empty or of the same run, .* choose another folder"):
        start(pairs, recordings, SpiritLM(other, text, vocabulary, model.speech_tokenizer), tmp_path)
    with pytest.raises(ValueError, match="results with options"):
        start(pairs, recordings, model, tmp_path, broken=("0.wav",))
    shutil.copytree(recordings, tmp_path / "others")  # the same names, perhaps in another language
    with pytest.raises(ValueError, match="results with data"):
        start(pairs, tmp_path / "others", model, tmp_path)


def test_settings_that_are_no_weights_are_another_model(model, tiny_lm):
    network, text, vocabulary = tiny_lm
    plain, smoothed = (
        PhoneticTokenizer(MFCCFeatures(MFCCConfig(normalize=normalize)), model.speech_tokenizer.quantizer)
        for normalize in (False, True)
    )
    assert network_fingerprint(plain, vocabulary) != network_fingerprint(smoothed, vocabulary)
    assert network_fingerprint(plain, vocabulary) == network_fingerprint(deepcopy(plain), vocabulary)
    one, other = (model_identity(SpiritLM(network, text, vocabulary, tokenizer)) for tokenizer in (plain, smoothed))
    assert one["speech_tokenizer"] != other["speech_tokenizer"] and one["language_model"] == other["language_model"]
    turned = type(network)(type(network.config).from_dict(network.config.to_dict() | {"rms_norm_eps": 1e-3}))
    turned.load_state_dict(network.state_dict())
    changed = model_identity(SpiritLM(turned, text, vocabulary, plain))
    assert changed["language_model"] != one["language_model"]


def test_items_that_have_changed_are_scored_again(pairs, recordings, model, tmp_path):
    data = shutil.copytree(recordings, tmp_path / "data")
    start(pairs, data, model, tmp_path)
    save_wav(data / "6.wav", 0.1 * torch.randn(9000))  # of pair 5 alone
    file = tmp_path / "pairs" / "items.jsonl"
    before = file.read_text().splitlines()
    start(pairs, data, model, tmp_path)
    again = [json.loads(line)["id"] for line in file.read_text().splitlines()[len(before) :]]
    assert again == ["pair-5"]


def test_skipped_items_are_wrong_ones_of_their_id(recordings, model, tmp_path):
    """Two of four recordings of word a cannot be heard: it has 1/2 and not 1, and word b keeps its own weight."""

    def reader(folder):
        names = {"a": ("0.wav", "0.wav", "gone.wav", "gone.wav"), "b": ("1.wav",)}
        items = [
            ChoiceItem(f"{word}{number}", (), (Speech(folder / name),), (Speech(folder / name),), {"id": word})
            for word, recorded in names.items()
            for number, name in enumerate(recorded)
        ]
        return Reading(items, "words", [Skipped("c", "c.wav", "row 9 is broken")])

    info = Info(**dict.fromkeys(("title", "measures", "licence", "source", "needs", "size"), ""))
    words = ChoiceBenchmark(info, reader, swuggy.figures, swuggy.ID)
    found = start(words, recordings, model, tmp_path)
    assert found["figures"]["mean"][0]["value"] == 50  # ties
    assert found["skipped_as_wrong"]["mean"] == pytest.approx((25 + 50 + 0) / 3)


def test_a_score_that_is_no_number_is_an_error_of_its_item(pairs, recordings, model, tiny_lm, tmp_path, monkeypatch):
    score = ChoiceScorer.score

    def broken(self, encoded):
        lines = score(self, encoded)
        lines[0].scores["mean"] = (float("nan"), 0.0)
        return lines

    with monkeypatch.context() as patch:
        patch.setattr(ChoiceScorer, "score", broken)
        assert start(pairs, recordings, model, tmp_path)["num_skipped"] == 1
    assert start(pairs, recordings, model, tmp_path)["num_skipped"] == 0


def test_a_recording_that_breaks_the_tokenizer_costs_itself_alone(pairs, recordings, model, tmp_path, monkeypatch):
    encode_batch = SpeechCodec.encode_batch

    def broken(self, batch):
        if any(speech.tokens is None and len(speech.waveform) == 8000 for speech in batch):
            raise RuntimeError("out of memory")
        return encode_batch(self, batch)

    monkeypatch.setattr(SpeechCodec, "encode_batch", broken)
    found = start(pairs, recordings, model, tmp_path)
    assert 0 < found["num_skipped"] < 4 and "out of memory" in next(iter(found["skipped"]))


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


# Options that name no file, or one whose content is in the items that are read from it.
NO_JUDGES = set(
    "balanced cache column context direction ends_at_change first greedy items label labels language manifests "
    "max_new_tokens microphone mode parts prompt_seconds prompt_words recordings shot_seconds shot_seed shot_seeds "
    "shots shots_split split stop_voice tasks temperature threshold top_k top_p tries whisper_device word_times".split()
)


def test_every_option_is_known_to_name_a_judge_or_not(tmp_path):
    """An option that names a file or folder beside the data belongs in JUDGES, all others in the list above."""
    found = [one for one in find_all("benchmarks").values() if type(one).__module__.startswith("spiritlm_pl.")]
    options = {name for benchmark in found for name in benchmark.options}
    assert len(found) >= 30 and options - NO_JUDGES == set(JUDGES)
    assert not NO_JUDGES - options
    (tmp_path / "judge").write_text("one")
    for name in JUDGES:
        assert list(named_content({name: str(tmp_path / "judge")})) == [name]


def test_what_a_judge_reads_is_told_apart_by_what_it_holds(tmp_path):
    judge = tmp_path / "judge"
    judge.mkdir()
    (judge / "weights").write_bytes(bytes(1 << 20))
    (judge / "a.wav").write_bytes(b"x")
    options = {"classifier": str(judge), "label": str(tmp_path), "language_model": "some/name", "split": None}
    first = named_content(options)
    assert list(first) == ["classifier"]
    (judge / "weights").write_bytes(bytes((1 << 20) - 1) + b"x")
    second = named_content(options)
    assert first != second
    (judge / "a.wav").write_bytes(b"y")
    assert named_content(options) == second
    (judge / "a.wav").write_bytes(b"yy")
    assert named_content(options) != second
