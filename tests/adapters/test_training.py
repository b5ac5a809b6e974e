"""Training of an adapter: resumed and divided over ranks it is the same; its checkpoints hold the adapter alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from spiritlm_pl.adapters.folder import WEIGHTS_FILE, with_adapter
from spiritlm_pl.interop.deepspeed import consolidate_checkpoint
from spiritlm_pl.interop.export import export_lm
from spiritlm_pl.lm.folder import load_lm
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

from .conftest import make_base

WORKER = Path(__file__).with_name("lora_worker.py")


def train(
    folder: Path, base: Path, engine: str = "auto", ranks: int = 1, steps: tuple[int, int] = (0, 4), *checkpoint: Path
) -> dict[int, list[float]]:
    """Loss and gradient norm after every step."""
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, *map(str, (WORKER, folder, engine, ranks, *steps, base, *checkpoint))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,  # to end all ranks together
    )
    try:
        printed, _ = process.communicate(timeout=500)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, printed
    return {int(step): pair for step, pair in json.loads((folder / "losses.json").read_text()).items()}


@pytest.mark.slow
def test_one_process_resumes_to_the_bit(tmp_path: Path, text: TextTokenizer, vocabulary: Vocabulary):
    base = make_base(tmp_path / "base", text, vocabulary)
    whole = train(tmp_path / "whole", base, steps=(0, 6))
    assert whole[6][0] < whole[1][0] - 0.1
    checkpoint = tmp_path / "whole" / "step=4.ckpt"
    resumed = train(tmp_path / "again", base, "auto", 1, (4, 6), checkpoint)
    assert {step: resumed[step] for step in (5, 6)} == {step: whole[step] for step in (5, 6)}
    ours, theirs = (load_file(tmp_path / run / "export" / WEIGHTS_FILE) for run in ("whole", "again"))
    assert_close(ours, theirs, rtol=0, atol=0)

    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert state and all("lora_" in name or name.endswith(".rows") for name in state)
    consolidate_checkpoint(tmp_path / "whole" / "step=6.ckpt", tmp_path / "adapter")
    assert_close(load_file(tmp_path / "adapter" / WEIGHTS_FILE), ours, rtol=0, atol=0)
    with pytest.raises(ValueError, match="must be a whole language model, but .*step=6.ckpt is of an adapter"):
        export_lm(tmp_path / "whole" / "step=6.ckpt", tmp_path / "out", str(base))
    network, _, _ = load_lm(base)
    with_adapter(network, tmp_path / "adapter", base, vocabulary)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "tied"), [("zero3", True), ("fsdp2", False)])
def test_two_ranks_agree_with_one(tmp_path: Path, text: TextTokenizer, vocabulary: Vocabulary, engine: str, tied: bool):
    base = make_base(tmp_path / "base", text, vocabulary, tied)
    expected, measured = train(tmp_path / "one", base), train(tmp_path / "two", base, engine, 2)
    assert sorted(measured) == [1, 2, 3, 4]
    for step, pair in expected.items():
        assert_close(torch.tensor(measured[step]), torch.tensor(pair), rtol=1e-3, atol=0)
    ours, theirs = (load_file(tmp_path / run / "export" / WEIGHTS_FILE) for run in ("two", "one"))
    assert_close(ours, theirs, rtol=1e-2, atol=1e-3)
    again = train(tmp_path / "again", base, engine, 2, (2, 4), tmp_path / "two" / "step=2.ckpt")
    assert {step: again[step] for step in (3, 4)} == {step: measured[step] for step in (3, 4)}
    assert_close(load_file(tmp_path / "again" / "export" / WEIGHTS_FILE), ours, rtol=0, atol=0)
    consolidate_checkpoint(tmp_path / "two" / "step=4.ckpt", tmp_path / "adapter")
    assert_close(load_file(tmp_path / "adapter" / WEIGHTS_FILE), ours, rtol=0, atol=0)
