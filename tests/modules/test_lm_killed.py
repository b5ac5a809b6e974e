"""Kill -9 in the middle of LM training, resume: every later loss and gradient norm is equal, bit for bit."""

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from spiritlm_pl.data.blocks import write_block, write_manifest
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.vocabulary import Vocabulary

WORKER = Path(__file__).parent / "train_lm.py"
STEPS = 14


def make_blocks(folder: Path) -> None:
    vocabulary = Vocabulary.spirit_lm(num_text=100, num_units=30, multiple_of=16)
    rng = np.random.default_rng(0)
    for kind, units in (("text", 0), ("aligned", 5)):
        documents = [
            Document(
                number,
                [WordIds(rng.integers(0, 100, 2).tolist(), rng.integers(102, 132, units).tolist()) for _ in range(20)],
            )
            for number in range(30)
        ]
        path = folder / "train" / kind
        write_manifest(path, kind, vocabulary, [write_block(path, 0, documents, vocabulary)], {})


def train(python: Path, blocks: Path, folder: Path, die_at: int, workers: int) -> tuple[int, dict[int, str]]:
    folder.mkdir(exist_ok=True)
    arguments = (blocks, folder, STEPS, die_at, workers)
    done = subprocess.run(
        [python, WORKER, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    lines = (line.split(maxsplit=1) for line in (folder / "losses.txt").read_text().splitlines())
    return done.returncode, {int(step): rest for step, rest in lines}


@pytest.mark.slow
def test_losses_after_a_kill_are_those_of_the_whole_run(python: Path, tmp_path: Path) -> None:
    make_blocks(tmp_path / "blocks")
    code, whole = train(python, tmp_path / "blocks", tmp_path / "whole", die_at=-1, workers=0)
    assert code == 0 and sorted(whole) == list(range(1, STEPS + 1))
    code, killed = train(python, tmp_path / "blocks", tmp_path / "killed", die_at=8, workers=1)
    assert code == -signal.SIGKILL and sorted(killed) == list(range(1, 9))
    (tmp_path / "killed" / "losses.txt").unlink()
    code, resumed = train(python, tmp_path / "blocks", tmp_path / "killed", die_at=-1, workers=2)
    assert code == 0 and sorted(resumed) == list(range(7, STEPS + 1)), "resumes after step 6"
    assert killed | resumed == whole
