"""Scores are kept for as long as the judges and the vocoder hold what they held."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spiritlm_pl.cli.main import run
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.preferences import scorers
from spiritlm_pl.preferences.contract import Candidates, KeptScorer
from spiritlm_pl.preferences.identity import content_hash
from spiritlm_pl.preferences.scorers import AutoBleu, Likelihood
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder


class Lengths:
    """Scores by length times a factor from a file, and counts what it scores."""

    scored = 0

    def __init__(self, factor: str) -> None:
        self.factor = factor

    def identity(self) -> str:
        return content_hash(self.factor)

    def __call__(self, model, candidates: list[Candidates]) -> list[list[float | None]]:
        Lengths.scored += len(candidates)
        return [[number * float(Path(self.factor).read_text()) for number in range(3)] for _ in candidates]


def save_vocoder(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    save_network(folder, InverseSTFTVocoder(InverseSTFTConfig(num_units=20, embedding_dim=8, channels=16)), "vocoder")


def test_scores_are_kept_until_judge_or_vocoder_change(tiny_lm, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scorers, "Lengths", Lengths, raising=False)
    network, text, vocabulary = tiny_lm
    save_lm(tmp_path / "lm", network, replace(vocabulary, end_of_document=2), text)
    save_vocoder(tmp_path / "vocoder", 0)
    Path("factor").write_text("1")
    lines = [{"id": f"p{n}", "prompt": f"[Speech][Hu{n}][Hu{n + 3}]"} for n in range(4)]
    Path("prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def scored() -> int:
        Lengths.scored = 0
        command = "prepare preferences prompts.jsonl out --lm lm --vocoder vocoder --device cpu --output speech"
        options = "--num-samples 3 --max-new-tokens 8 --only-stopped=false --reference=false".split()
        options += ["--scorer", "spiritlm_pl.preferences.scorers.Lengths", "--options", "{factor: factor}"]
        run([*command.split(), *options])
        return Lengths.scored

    assert [scored(), scored()] == [4, 0]
    Path("factor").write_text("2")  # another judge under the same name
    assert [scored(), scored()] == [4, 0]
    save_vocoder(tmp_path / "vocoder", 1)
    assert [scored(), scored()] == [4, 0]
    assert len([*Path("out").glob("scores-*.jsonl")]) == 3 and len([*Path("out").glob("answers-*.jsonl")]) == 1


def test_every_byte_of_the_judges_is_in_the_identity(tiny_lm, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(scorers, "transcriber", lambda *arguments: lambda waveform, rate: "")
    judge = save_lm(tmp_path / "judge", tiny_lm[0], tiny_lm[2], tiny_lm[1])
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper" / "model.bin").write_bytes(bytes(300_000))
    (tmp_path / "words.txt").write_text("the cat")

    def identities() -> list[str]:
        heard = {"whisper": str(tmp_path / "whisper")}, {"vocabulary": str(tmp_path / "words.txt")}
        made = [Likelihood(str(judge), **options) for options in ({}, {"language": "pl"}, *heard)]
        assert all(isinstance(one, KeptScorer) for one in made)
        return [one.identity() for one in made]

    before = identities()
    assert len({*before}) == 4 and identities() == before
    data = bytearray((tmp_path / "whisper" / "model.bin").read_bytes())
    data[150_000] ^= 1
    (tmp_path / "whisper" / "model.bin").write_bytes(data)
    (tmp_path / "words.txt").write_text("the dog")
    changed = [one != other for one, other in zip(before, identities(), strict=True)]
    assert changed == [False, False, True, True]
    (weights,) = judge.glob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    assert all(one != other for one, other in zip(before, identities(), strict=True))
    assert not isinstance(AutoBleu(), KeptScorer)


def test_a_hash_is_of_names_and_contents(tmp_path) -> None:
    for name, files in (("a", {"x": "1", "y": "2"}), ("b", {"y": "2", "x": "1"}), ("c", {"x": "2", "y": "1"})):
        for file, content in files.items():
            (tmp_path / name / "inner").mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "inner" / file).write_text(content)
    first, second, third = (content_hash(tmp_path / name) for name in "abc")
    assert first == second != third
    with pytest.raises(FileNotFoundError):
        content_hash(tmp_path / "nothing")
