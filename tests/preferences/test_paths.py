"""Each way to pairs that needs more than tokens: a text model as the judge, benchmarks, and recordings as prompts."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch

from spiritlm_pl.cli.main import USER_ERRORS, run
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.lm.folder import load_lm, save_lm
from spiritlm_pl.lm.likelihood import log_likelihoods
from spiritlm_pl.preferences import scorers
from spiritlm_pl.preferences.contract import Candidates
from spiritlm_pl.preferences.folder import read_pairs
from spiritlm_pl.preferences.scorers import Likelihood
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.tokenizers.features import MFCCConfig, MFCCFeatures
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.vocabulary import Modality
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder

SAMPLING = "--num-samples 4 --max-new-tokens 12 --only-stopped=false --validation-fraction 0 --reference=false".split()


@pytest.fixture(scope="module")
def model(tiny_lm, tmp_path_factory) -> Path:
    """A model folder whose vocoder has two voices."""
    folder = tmp_path_factory.mktemp("model")
    network, text, vocabulary = tiny_lm
    save_lm(folder / "lm", network, replace(vocabulary, end_of_document=text.eos_id), text)
    torch.manual_seed(0)
    features = MFCCFeatures(MFCCConfig())
    quantizer = KMeans(KMeansConfig(num_units=20, feature_dim=features.feature_dim))
    torch.nn.init.normal_(quantizer.centroids)
    PhoneticTokenizer(features, quantizer).save(folder / "speech_tokenizer")
    config = InverseSTFTConfig(num_units=20, speakers=("anna", "bert"), embedding_dim=8, channels=16)
    save_network(folder / "vocoder", InverseSTFTVocoder(config), "vocoder")
    return folder


@pytest.fixture
def command(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # of caches

    def call(*arguments: object) -> None:
        run(["prepare", "preferences", *map(str, arguments), "--model", str(model), "--device", "cpu"])

    return call


def recording(path: Path, seed: int, seconds: float = 1.0) -> Path:
    noise = 0.2 * torch.randn(round(16_000 * seconds), generator=torch.Generator().manual_seed(seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise.numpy(), 16_000)
    return path


@pytest.fixture
def stories(tmp_path) -> Path:
    """Topic StoryCloze as it is unpacked: whole stories."""
    folder = tmp_path / "tStoryCloze"
    for number in range(3):
        for place, kind in enumerate(("correct", "incorrect")):
            stem = folder / f"{2 * number + place}_story{number}_{kind}"
            recording(stem.with_suffix(".wav"), 2 * number + place)
            stem.with_suffix(".txt").write_text(f"The cat sat. {'A dog ran' if place else 'The mat'}.")
    return folder


def test_a_text_model_scores_written_continuations(command, model, tmp_path, capsys) -> None:
    lines = [{"id": f"p{n}", "prompt": text} for n, text in enumerate(("the cat", "a dog", "the mat"))]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    judge = {"language_model": str(model / "lm")}
    given = ("prompts.jsonl", "out", "--scorer", "likelihood", "--options", json.dumps(judge), "--output", "text")
    command(*given, *SAMPLING)
    assert "train 3 pairs" in capsys.readouterr().out
    (scores,) = Path("out").glob("scores-likelihood-*.jsonl")
    (answers,) = Path("out").glob("answers-*.jsonl")
    found = {line["id"]: line["scores"] for line in map(json.loads, scores.read_text().splitlines())}
    sampled = {line["id"]: line["answers"] for line in map(json.loads, answers.read_text().splitlines())}
    for pair in read_pairs("out", "train"):
        values = [score for score in found[pair.id] if score is not None]
        best, worst = (sampled[pair.id][found[pair.id].index(pick(values))] for pick in (max, min))
        assert list(pair.chosen)[: len(best)] == best and list(pair.rejected)[: len(worst)] == worst


def test_a_score_is_the_mean_likelihood_of_the_words_after_those_of_the_prompt(model, monkeypatch) -> None:
    """Of speech it is that of what is heard."""
    network, text, vocabulary = load_lm(model / "lm")
    speaks = SpiritLM.from_pretrained(model)
    unit = vocabulary.token
    heard = iter(["the cat", "sat on", ""])
    monkeypatch.setattr(scorers, "transcriber", lambda *arguments: lambda waveform, rate: next(heard))
    spoken = Candidates(
        "p",
        (vocabulary.speech_marker, unit("unit", 3), unit("unit", 7)),
        ((unit("unit", 1), unit("unit", 2)), (unit("unit", 4),)),
        (True, True),
    )
    ((score, nothing),) = Likelihood(str(model / "lm"), vocabulary="words")(speaks, [spoken])
    whole, before = (text.encode(words) for words in ("the cat sat on", "the cat"))
    begun = [*vocabulary.opened(Modality.TEXT), *whole]
    expected = log_likelihoods(network.eval(), [(begun, len(whole) - len(before))], 4096)
    assert score == pytest.approx(float(expected[0]) / (len(whole) - len(before)), abs=1e-5) and nothing is None
    with pytest.raises(ValueError, match="likelihood needs whisper or vocabulary for speech, but has none"):
        Likelihood(str(model / "lm"))(speaks, [spoken])
    with pytest.raises(ValueError, match="needs a vocoder of the model for speech"):
        Likelihood(str(model / "lm"), vocabulary="words")(silent(speaks), [spoken])


def silent(model: SpiritLM) -> SpiritLM:
    return SpiritLM(model.model, model.text_tokenizer, model.vocabulary)


def test_beginnings_of_recordings_are_prompts(command, tmp_path, capsys) -> None:
    for number in range(4):
        recording(tmp_path / "recordings" / f"{number}.wav", number, 0.4 + 0.4 * number)
    given = ("recordings", "out", "--scorer", "auto_bleu", "--options", "{size: 1}", "--prompt-seconds", 0.5)
    command(*given, *SAMPLING)
    lines = [*map(json.loads, next(Path("out").glob("answers-*.jsonl")).read_text().splitlines())]
    assert len(lines) == 3 and "which leaves nothing after a prompt of 0.5 s" in Path("out/skipped.jsonl").read_text()
    assert all(5 < len(line["prompt"]) < 27 for line in lines)  # a marker, and at most 25 frames
    assert "pairs" in capsys.readouterr().out
    with pytest.raises(USER_ERRORS, match="directions must name one or more"):
        command("recordings", "none", "--scorer", "auto_bleu", "--directions", "[]")


def test_right_and_wrong_of_a_benchmark(command, model, stories, capsys) -> None:
    command(stories, "spoken", "--benchmark", "tstorycloze", "--validation-fraction", 0)
    told = capsys.readouterr()
    assert "train 3 pairs" in told.out and "recordings of whole stories are scored from their beginning" in told.err
    spoken = read_pairs("spoken", "train")
    assert spoken.reference is not None and all(len(pair.prompt) == 1 for pair in spoken)
    command(stories, "written", "--benchmark", "tstorycloze_text", "--validation-fraction", 0)
    _, text, vocabulary = load_lm(model / "lm")
    for pair in read_pairs("written", "train"):
        told = [text.decode([*pair.prompt[1:], *ending]) for ending in (pair.chosen, pair.rejected)]
        assert len(pair.prompt) > 3 and pair.prompt[0] == vocabulary.text_marker
        assert "mat" in told[0] and "dog" in told[1] and all("cat sat" in one for one in told)
    for options, told_of in (
        (("--directions", "[text_to_text]"), "directions must be left out for .*, as tstorycloze and its options tell"),
        (("--split", "test"), "split must be left out"),
        (("--options", "{voice: 3}"), "voice"),
        (("--scorer", "auto_bleu"), "left out with a benchmark"),
    ):
        with pytest.raises(USER_ERRORS, match=told_of):
            command(stories, "none", "--benchmark", "tstorycloze", *options)
    with pytest.raises(USER_ERRORS, match="must be one of right and wrong hypotheses, but generation_quality is not"):
        command(stories, "none", "--benchmark", "generation_quality", "--options", "{prompt_seconds: 0.25}")
