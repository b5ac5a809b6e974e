"""An outsider's package is installed, and corpus, tokenizer, vocoder and language model are made with its parts."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

Run = Callable[..., "subprocess.CompletedProcess[str]"]
PLUGIN = Path(__file__).resolve().parents[1] / "examples" / "plugin"
RUN = """
import json, sys
from spiritlm_pl.cli.main import run
for words in json.load(sys.stdin):
    print("+", *words, flush=True)
    run(words)
"""
PATH_TO_A_MODEL = [
    ["prepare", "tones", "tones"],
    ["count-words", "tones", "--split=train"],
    ["align", "tones", "--method=even"],
    ["extract-f0", "tones", "--extractor=autocorrelation", "--num_jobs=1"],
    ["fit", f"--config={PLUGIN}/conf/quantizer.yaml"],
    ["predict", f"--config={PLUGIN}/conf/tokenize.yaml"],
    ["evaluate", "run_lengths", "units/tones", "run_lengths.json", "--split=train"],
    ["fit", f"--config={PLUGIN}/conf/vocoder.yaml"],
    ["train-text-tokenizer", "text_tokenizer", "--corpora=[tones]", "--vocab_size=280"],
    ["build-blocks", "[units/tones]", "text_tokenizer", "blocks", "--multiple_of=8"],
    ["fit", f"--config={PLUGIN}/conf/lm.yaml"],
    ["benchmark", "run", "tone_pairs", "pairs", "results", "--model=model", "--device=cpu"],
    ["generate", "--text", "low high", "--output", "speech", "--model", "model", "--out", "generated"],
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the package is installed, as pip does it."""
    site = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "plugin"
    subprocess.run(["cp", "-r", PLUGIN, source], check=True)  # pip builds within it
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site]
    subprocess.run([*pip, source], check=True, capture_output=True)
    inherited = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), inherited]), "SPIRITLM_TRUST": ""}


@pytest.fixture
def run(python: Path) -> Run:
    """Runs commands in an environment and a folder."""

    def run(environment: dict[str, str], folder: Path, *commands: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [python, "-c", RUN], input=json.dumps(commands), cwd=folder, env=environment, capture_output=True, text=True
        )

    return run


@pytest.mark.slow
def test_a_model_is_made_with_the_parts_of_another_package(
    run: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "pairs.tsv").write_text("low high\tw w w w\nhigh low\tq x q x\n")
    done = run(environment, tmp_path, *PATH_TO_A_MODEL)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "40 utterances aligned (40 now), 120 words; 0 could not be" in done.stdout
    assert "tones, train: 105 words, 4 different ones" in done.stdout
    settings = json.loads((tmp_path / "tones" / "alignment.json").read_text())["settings"]
    assert settings == "spiritlm_example.aligner.EvenAligner {}"
    assert "F0 of 40 utterances" in done.stdout
    assert json.loads((tmp_path / "run_lengths.json").read_text())["frames_per_run"] > 2  # a tone lasts 12.5 frames
    config = json.loads((tmp_path / "model" / "vocoder" / "config.json").read_text())
    assert config["class_path"] == "spiritlm_example.vocoder.SineVocoder"
    summary = json.loads((tmp_path / "results" / "tone_pairs" / "summary.json").read_text())
    assert summary["num_scored"] == 2 and summary["figures"]["mean"][0]["value"] in (0, 50, 100)
    assert list((tmp_path / "generated").glob("*.wav"))

    without = {**environment, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    heard = ["--speech", str(next((tmp_path / "generated").glob("*.wav")))]
    refused = run(without, tmp_path, [*PATH_TO_A_MODEL[-1], *heard])
    assert "names spiritlm_example.features.BandFeatures: --trust spiritlm_example runs code" in refused.stderr


CODEC = """
import torch
from spiritlm_example.codec import SineCodec, SineCodecConfig
from spiritlm_pl.contracts.speech_tokenizer import SpeechTokenizer
from spiritlm_pl.contracts.vocoder import CodebookDecoder
from spiritlm_pl.runtime.checkpoint import save_network

codec = SineCodec(SineCodecConfig())
assert isinstance(codec, SpeechTokenizer) and isinstance(codec, CodebookDecoder)
save_network("model/speech_tokenizer", codec, "speech_tokenizer")
"""
PATH_TO_SINES = [
    ["prepare", "tones", "tones"],
    ["align", "tones", "--method=even"],
    ["predict", f"--config={PLUGIN}/conf/tokenize.yaml", "--model.init_args.tokenizer=model/speech_tokenizer"],
    ["train-text-tokenizer", "text_tokenizer", "--corpora=[tones]", "--vocab_size=280"],
    ["build-blocks", "[units/tones]", "text_tokenizer", "blocks", "--multiple_of=8", "--codebook-delay=1"],
    ["fit", f"--config={PLUGIN}/conf/lm.yaml"],
    ["generate", "--text", "low high", "--output", "speech", "--model", "model", "--out", "generated"],
    ["tokenize", "tones/audio", "--model", "model", "--out", "tokens.jsonl"],
    ["vocode", "tokens.jsonl", "--model", "model", "--audio", "spoken"],
]


@pytest.mark.slow
def test_a_tokenizer_of_another_package_that_is_one_class_hears_and_speaks(
    python: Path, run: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    made = subprocess.run([python, "-c", CODEC], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-2000:]
    done = run(environment, tmp_path, *PATH_TO_SINES)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert list((tmp_path / "generated").glob("*.wav"))
    for original in sorted((tmp_path / "tones" / "audio").rglob("*.wav"))[:4]:
        said, rate = soundfile.read(original)
        heard, _ = soundfile.read(next((tmp_path / "spoken").glob(f"*{original.stem}*.wav")))
        size = min(len(said), len(heard))
        peaks = [abs(np.fft.rfft(part[:size])).argmax() * rate / size for part in (said, heard)]
        assert abs(np.log2(peaks[0] / peaks[1])) < 0.1 and len(said) - len(heard) < 640
    without = {**environment, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    refused = run(without, tmp_path, PATH_TO_SINES[-1])
    assert "names spiritlm_example.codec.SineCodec: --trust spiritlm_example runs code" in refused.stderr
