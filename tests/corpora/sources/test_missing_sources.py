"""A source that is not there, or that is a file in place of a folder, is named in one line by its argument."""

import re
from pathlib import Path

import pytest
import torch

from spiritlm_pl.cli.main import guarded, run
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.manifest import make_cut, save_corpus

CASES = [
    (["prepare", "folder", "nowhere", "out"], "AUDIO must be a folder of audio, but nowhere is not there"),
    (["prepare", "folder", "file", "out"], "AUDIO must be a folder of audio, but file is a file"),
    (["prepare", "folder", "empty", "out"], "AUDIO must be a folder of audio, but empty holds no file that ends with"),
    (
        ["prepare", "folder", "empty", "out", "--table=nowhere"],
        "--table must be a .csv or .tsv file, but nowhere is not",
    ),
    (
        ["prepare", "folder", "empty", "out", "--table=empty"],
        "--table must be a .csv or .tsv file, but empty is a folder",
    ),
    (
        ["prepare", "folder", "nowhere", "out", "--table=table.csv"],
        "AUDIO must be a folder of audio, but nowhere is not there",
    ),
    (["prepare", "lhotse-recipe", "librispeech", "file", "out"], "CORPUS must be a folder, but file is a file"),
    (
        ["prepare", "lhotse-recipe", "icsi", "{audio_dir: file, transcripts_dir: file}", "out"],
        "audio_dir must be a folder, but file is a file",
    ),
    (["prepare", "emov-db", "nowhere", "out"], "CORPUS_DIR must be a folder of audio, but nowhere is not there"),
    (["prepare", "emov-db", "file", "out"], "CORPUS_DIR must be a folder of audio, but file is a file"),
    (["prepare", "expresso", "nowhere", "out"], "CORPUS_DIR must be a folder with audio_48khz, .*, but nowhere is not"),
    (["prepare", "expresso", "file", "out"], "CORPUS_DIR must be a folder with audio_48khz, .*, but file is a file"),
    (["prepare", "expresso", "empty", "out"], "CORPUS_DIR must be a folder .*, but empty/audio_48khz is not there"),
    (["prepare", "lhotse-manifest", "nowhere", "out"], "MANIFEST must be a file or folder, but nowhere is not there"),
    (["prepare", "lhotse-manifest", "empty", "out"], "MANIFEST must be a file, .*, but empty has none of them"),
    (["prepare", "lhotse-recipe", "librispeech", "nowhere", "out"], "CORPUS must be .*, but nowhere is not there"),
    (
        ["prepare", "debian-prompts", "out", "--source=nowhere"],
        "--source must be a folder .*, but nowhere is not there",
    ),
    (["prepare", "debian-texts", "out", "--source=file"], "--source must be a folder .*, but file is a file"),
    (["prepare", "amazon-queen", "out", "--source=empty"], "--source must be a folder .*, but empty has not all"),
    (["prepare", "text", "nowhere", "out"], "FILE must be a text file or a folder of them, but nowhere is not there"),
    (
        ["align", "corpus", "--method=textgrid", "--source=nowhere"],
        "--source must be a folder of TextGrid files, but now",
    ),
    (
        ["align", "corpus", "--method=textgrid", "--source=file"],
        "--source must be .* TextGrid files, but file is a file",
    ),
    (["align", "corpus", "--method=ctm", "--source=nowhere"], "--source must be a CTM file, but nowhere is not there"),
    (["align", "corpus", "--method=ctm", "--source=empty"], "--source must be a CTM file, but empty is a folder"),
    (
        ["align", "corpus", "--method=ctm", "--source=file", "--phone-source=nowhere"],
        "--phone-source must be a CTM file, but nowhere is not there",
    ),
    (
        ["align", "corpus", "--method=lhotse", "--source=empty"],
        "--source must be a manifest of cuts, but empty is a fold",
    ),
]


@pytest.mark.parametrize(("command", "message"), CASES, ids=[" ".join(words[:2] + words[-1:]) for words, _ in CASES])
def test_a_source_that_does_not_fit_is_named(
    command: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file").write_text("")
    Path("table.csv").write_text("path,text\na.wav,a\n")
    samples = save_wav(Path("a.wav"), torch.zeros(16_000))
    cut = make_cut("a", Path("a.wav"), sample_rate=16_000, num_samples=samples, text="a", speaker="x")
    save_corpus("corpus", {"train": [cut]}, name="corpus", source="s", licence="l")
    assert guarded(lambda: run(command)) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"spiritlm: error: {message}", line), line
