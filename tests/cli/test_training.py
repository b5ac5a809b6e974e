"""Trainer commands as they are typed: several devices, resuming, checkpoints that do not fit."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("spiritlm")


def fit_clusters(folder: Path, corpus: Path, *words: str, num_units: int = 4) -> subprocess.CompletedProcess[str]:
    """Fit k-means to MFCCs, a trainer command that takes a second once it has been imported."""
    command = [
        *(str(PROGRAM), "fit", "--config", "quantizer/quickstart_mfcc", f"--data.init_args.corpora=[{corpus}]"),
        *(f"--model.init_args.config.num_units={num_units}", "--model.init_args.start_frames=100"),
        *("--trainer.callbacks.init_args.dirpath=tokenizer", "--trainer.enable_checkpointing=true"),
        *("--trainer.default_root_dir=run", "--trainer.logger=false", *words),
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.slow
def test_two_devices_from_one_command(tone_corpus: Path, tmp_path: Path) -> None:
    done = fit_clusters(tmp_path, tone_corpus, "--trainer.devices=2", "--trainer.strategy=ddp")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "MEMBER: 2/2" in done.stderr
    assert (tmp_path / "tokenizer" / "config.json").is_file()


@pytest.mark.slow
def test_resuming_and_checkpoints_that_do_not_fit(tone_corpus: Path, tmp_path: Path) -> None:
    done = fit_clusters(tmp_path, tone_corpus)
    assert done.returncode == 0, done.stderr[-2000:]
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("*.ckpt")
    figures = json.loads((tmp_path / "tokenizer" / "metrics.json").read_text())
    assert figures["train/active"] == 1.0

    shutil.rmtree(tmp_path / "tokenizer")  # as if killed before the export
    again = fit_clusters(tmp_path, tone_corpus, f"--ckpt_path={checkpoint}")
    assert again.returncode == 0, again.stderr[-2000:]
    assert (tmp_path / "tokenizer" / "config.json").is_file()

    other = fit_clusters(tmp_path, tone_corpus, f"--ckpt_path={checkpoint}", num_units=5)
    assert other.returncode == 2 and "checkpoint must be of the module and size" in other.stderr
    assert "Traceback" not in other.stderr

    command = [str(PROGRAM), "validate", "--config", "quantizer/quickstart_mfcc", "--ckpt_path=last"]
    command += [f"--data.init_args.corpora=[{tone_corpus}]", "--trainer.default_root_dir=elsewhere"]
    command += ["--trainer.callbacks=null", "--trainer.enable_checkpointing=true", "--trainer.logger=false"]
    untrained = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert untrained.returncode == 2 and "there is no last one in" in untrained.stderr

    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    damaged = fit_clusters(tmp_path, tone_corpus, f"--ckpt_path={checkpoint}")
    assert damaged.returncode == 2 and f"but {checkpoint} is damaged" in damaged.stderr
