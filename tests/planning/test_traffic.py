"""Traffic and checkpoints on paper against what processes over gloo send and write."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig

from spiritlm_pl.lm.cost import ModelSize, model_size
from spiritlm_pl.planning.checkpoints import Checkpoints
from spiritlm_pl.planning.traffic import Traffic, fsdp2, zero3

WORKER = Path(__file__).with_name("traffic_worker.py")
MODEL = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4}
SIZE = model_size(AutoConfig.for_model("llama", vocab_size=1024, max_position_embeddings=64, **MODEL))
KEPT_DISTANCE = 400_000  # as in the worker


def measure(folder: Path, *arguments: object) -> dict[str, float]:
    process = subprocess.Popen(
        [sys.executable, WORKER, folder, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,  # to end all ranks together
    )
    try:
        printed, _ = process.communicate(timeout=280)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, printed
    found: dict[str, float] = json.loads((folder / "measured.json").read_text())
    return found


def agree(planned: Traffic, measured: dict[str, float]) -> None:
    assert measured["gathered"] == pytest.approx(planned.gathered, rel=0.1)
    assert measured["reduced"] == pytest.approx(planned.reduced, rel=0.1)
    assert measured.get("other", 0) < 0.01 * planned.each
    # On the wire: gloo sums whole tensors where NCCL sums shares, and so sends the gradients twice.
    twice = planned.reduced * (planned.gpus - 1) / planned.gpus
    assert measured["sent"] - twice == pytest.approx(planned.each, rel=0.1)
    assert measured["received"] == pytest.approx(measured["sent"], rel=0.01)


def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "batches", "recompute", "bf16"), [(2, 1, False, False), (2, 2, True, True), (3, 1, True, False)]
)
def test_zero3_sends_and_writes_what_is_planned(
    tmp_path: Path, ranks: int, batches: int, recompute: bool, bf16: bool
) -> None:
    measured = measure(tmp_path, "zero3", ranks, batches, int(recompute), int(bf16))
    agree(zero3(SIZE, ranks, batches, recompute, KEPT_DISTANCE, 2 if bf16 else 4), measured)
    planned = Checkpoints(parameters=SIZE.parameters, gpus=ranks, kept=3, bandwidth=1e9)
    assert written(tmp_path / "checkpoint") == pytest.approx(planned.size, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "batches", "recompute", "bf16"), [(2, 1, False, False), (2, 2, True, True), (3, 1, False, True)]
)
def test_fsdp2_sends_and_writes_what_is_planned(
    tmp_path: Path, ranks: int, batches: int, recompute: bool, bf16: bool
) -> None:
    measured = measure(tmp_path, "fsdp2", ranks, batches, int(recompute), int(bf16))
    agree(fsdp2(SIZE, ranks, batches, gather_width=2 if bf16 else 4), measured)
    planned = Checkpoints(parameters=SIZE.parameters, gpus=ranks, kept=3, bandwidth=1e9)
    assert written(tmp_path / "checkpoint") == pytest.approx(planned.size, rel=0.1)
