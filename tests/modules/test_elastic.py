"""ZeRO-3 over 2, then 3, then 1 processes on CPU: losses and optimizer state are those of one run over 2."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from spiritlm_pl.data.blocks import write_block, write_manifest
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.lm.build import LanguageModelConfig, build_network
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.modules.elastic import make_universal, ranks_of
from spiritlm_pl.vocabulary import Vocabulary

WORKER = Path(__file__).with_name("elastic_worker.py")
VOCABULARY = Vocabulary.spirit_lm(num_text=100, num_units=30, multiple_of=16)
LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 50,  # divides by no number of ranks
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
OPTIONS = ("freeze=layers.0", "below=1000", "group=3000")


def prepare(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for kind, units in (("text", 0), ("aligned", 5)):
        documents = [
            Document(
                number,
                [WordIds(rng.integers(0, 100, 2).tolist(), rng.integers(102, 132, units).tolist()) for _ in range(20)],
            )
            for number in range(30)
        ]
        for split in ("train", "validation"):
            blocks = folder / "blocks" / split / kind
            write_manifest(blocks, kind, VOCABULARY, [write_block(blocks, 0, documents, VOCABULARY)], {})
    torch.manual_seed(0)
    save_lm(folder / "base", build_network(LanguageModelConfig(config=LLAMA), VOCABULARY), VOCABULARY)


def start(folder: Path, run: str, ranks: int, last: int, *more: str, code: int = 0) -> str:
    """Run the worker, and return what it prints."""
    (folder / run).mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, WORKER, run, "blocks", "base", str(ranks), str(last), *OPTIONS, *more],
        cwd=folder,
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
    assert process.returncode == code, printed
    return printed


def train(folder: Path, run: str, ranks: int, last: int, *more: str, told: str = "") -> dict[int, list[float]]:
    """Loss and gradient norm after every step."""
    printed = start(folder, run, ranks, last, *more)
    assert "rows from here on" not in printed and told in printed
    return {int(step): pair for step, pair in json.loads((folder / run / f"losses-{ranks}.json").read_text()).items()}


def measure(folder: Path, run: str, ranks: int) -> float:
    """Loss of the newest checkpoint on the first validation rows."""
    (found,) = re.findall(r"measured: (\S+)", start(folder, run, ranks, 9, "measure=1"))
    return float(found)


def whole_state(checkpoint: Path) -> dict[str, object]:
    """Weights and averages by name, and the settings and step counts of the optimizer's groups."""
    zero = make_universal(checkpoint) / "zero"
    optimizer = torch.load(zero / "optimizer_state.pt", weights_only=False)["optimizer_state_dict"]
    groups = [{name: value for name, value in group.items() if name != "params"} for group in optimizer["param_groups"]]
    tensors = {
        str(path.relative_to(zero)): torch.load(path) for path in zero.rglob("*.pt") if path.parent != zero
    }  # fp32.pt, exp_avg.pt and exp_avg_sq.pt of each parameter
    return {
        "tensors": tensors,
        "groups": groups,
        "steps": sorted({int(state["step"]) for state in optimizer["state"].values()}),
    }


@pytest.mark.slow
def test_other_numbers_of_ranks_go_on_exactly(tmp_path: Path) -> None:
    prepare(tmp_path)
    told = "no checkpoint was saved at step 6, and earlier ones stay"
    whole = train(tmp_path, "whole", 2, 9, "full=1:6", told=told)
    assert sorted(path.name for path in (tmp_path / "whole").iterdir() if path.is_dir() and not path.is_symlink()) == [
        "step=3.ckpt",
        "step=9.ckpt",
    ]
    assert sorted(whole) == list(range(1, 10)) and whole[9][0] < whole[1][0] - 0.3
    run = tmp_path / "run"
    shutil.copytree(tmp_path / "whole" / "step=3.ckpt", run / "step=3.ckpt")  # as if stopped after step 3
    three = train(tmp_path, "run", 3, 6)
    assert [ranks_of(run / name) for name in ("step=3.ckpt", "step=6.ckpt")] == [2, 3]
    one = train(tmp_path, "run", 1, 9)
    assert (sorted(three), sorted(one)) == ([4, 5, 6], [7, 8, 9])
    for step, pair in (three | one).items():
        assert pair == pytest.approx(whole[step], rel=2e-6), step
    for saved, loaded in (("step=3.ckpt", "start-3"), ("step=6.ckpt", "start-1")):
        before, after = whole_state(run / saved), whole_state(run / loaded)
        assert [group["weight_decay"] for group in before["groups"]] == [0.9, 0.0]
        torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert measure(tmp_path, "run", 2) == pytest.approx(measure(tmp_path, "run", 1), rel=1e-6)  # one rank wrote it


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "code"), [(1, 1), (0, -signal.SIGKILL)])
def test_a_dead_rank_is_named_and_the_others_end(tmp_path: Path, rank: int, code: int) -> None:
    prepare(tmp_path)
    printed = start(tmp_path, "run", 2, 1000, f"die={rank}:3", code=code)
    assert re.search(rf"spiritlm: error: rank {rank}\b.* is dead, so that the others cannot go on", printed)


def test_shards_that_cannot_be_joined_are_named(tmp_path: Path) -> None:
    checkpoint = tmp_path / "step=[4].ckpt"  # brackets are no pattern
    (checkpoint / "checkpoint").mkdir(parents=True)
    for rank in (0, 1):
        for kind in ("model", "optim"):
            (checkpoint / "checkpoint" / f"zero_pp_rank_{rank}_mp_rank_00_{kind}_states.pt").write_bytes(b"PK\x03\x04")
    assert ranks_of(checkpoint) == 2
    with pytest.raises(ValueError, match=r"than the 2 that wrote it, but .*step=\[4\].ckpt cannot be converted: \w+"):
        make_universal(checkpoint)
    assert [path.name for path in checkpoint.iterdir()] == ["checkpoint"]
    next(checkpoint.glob("checkpoint/*_1_*optim_states.pt")).unlink()
    with pytest.raises(ValueError, match=r"two files of each rank, but .* holds 2 .*_model_states.pt and 1 .*_optim"):
        ranks_of(checkpoint)
