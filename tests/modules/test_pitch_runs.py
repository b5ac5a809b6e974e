"""Pitch training in processes of its own: killed and resumed, and on two ranks."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spiritlm_pl.f0.store import extract_corpus

WORKER = Path(__file__).parent / "train_pitch.py"
pytestmark = pytest.mark.slow


@pytest.fixture
def corpus(make_corpus: Callable[..., Path], tmp_path: Path) -> Path:
    folder = make_corpus(tmp_path / "tones")
    extract_corpus(folder, "yin", "yin")
    return folder


def train(
    python: Path, corpus: Path, folder: Path, die_at: int = -1, devices: int = 1
) -> list[dict[str, torch.Tensor]]:
    """State at step 10 of each rank."""
    done = subprocess.run(
        [python, WORKER, corpus, folder, "10", str(die_at), str(devices)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == (0 if die_at < 0 else -signal.SIGKILL), done.stderr[-3000:]
    return [] if die_at >= 0 else [torch.load(folder / f"rank{rank}.pt") for rank in range(devices)]


def test_a_killed_run_ends_as_the_whole_one(python: Path, corpus: Path, tmp_path: Path) -> None:
    whole = train(python, corpus, tmp_path / "whole")[0]
    train(python, corpus, tmp_path / "killed", die_at=8)
    resumed = train(python, corpus, tmp_path / "killed")[0]
    assert int(whole["skipped"]) == 1 and int(whole["network.codebook.updates"]) == 10
    assert set(whole) == set(resumed)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]) and value.isfinite().all(), name


def test_two_ranks_keep_one_network_and_one_codebook(python: Path, corpus: Path, tmp_path: Path) -> None:
    first, second = train(python, corpus, tmp_path, devices=2)
    assert int(first["skipped"]) == 1  # of a batch of the other rank
    for name, value in first.items():
        assert torch.equal(value, second[name]) and value.isfinite().all(), name
