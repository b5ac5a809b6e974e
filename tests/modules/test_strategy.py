"""ZeRO-3 over two processes on CPU: trains as one process does, goes on from its shards, and becomes one model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from spiritlm_pl.cli.consolidate import consolidate
from spiritlm_pl.interop.deepspeed import consolidate_checkpoint
from spiritlm_pl.lm.build import LanguageModelConfig, build_network
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.modules.strategy import gather_weights
from spiritlm_pl.runtime.model_description import read_vocabulary
from spiritlm_pl.vocabulary import Vocabulary

StartRanks = Callable[..., Callable[..., str]]  # the fixture
Start = Callable[..., Callable[[], dict[int, list[float]]]]
WORKER = Path(__file__).parent / "zero3_worker.py"
VOCABULARY = Vocabulary.spirit_lm(num_text=40, num_units=20, multiple_of=64)
LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


@pytest.fixture
def start(start_ranks: StartRanks) -> Start:
    """Starts training; gives a function that returns loss and gradient norm after every step."""

    def start(
        folder: Path, processes: int, base: Path, accumulate: int = 1, first: int = 0, checkpoint: str = ""
    ) -> Callable[[], dict[int, list[float]]]:
        folder.mkdir(exist_ok=True)
        more = [checkpoint] if checkpoint else []
        finish = start_ranks(WORKER, folder, processes, accumulate, first, 8, base, *more)

        def losses() -> dict[int, list[float]]:
            finish()
            return {int(step): pair for step, pair in json.loads((folder / "losses.json").read_text()).items()}

        return losses

    return start


def agree(measured: dict[int, list[float]], expected: dict[int, list[float]]) -> None:
    assert sorted(measured) == sorted(expected) == list(range(1, 9))
    ours, theirs = (torch.tensor([pairs[step] for step in range(1, 9)]) for pairs in (measured, expected))
    torch.testing.assert_close(ours[:, 0], theirs[:, 0], rtol=1e-4, atol=0)
    torch.testing.assert_close(ours[:, 1], theirs[:, 1], rtol=2e-3, atol=0)


@pytest.mark.slow
def test_zero3_agrees_with_one_process_resumes_and_consolidates(start: Start, tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = save_lm(tmp_path / "base", build_network(LanguageModelConfig(config=LLAMA), VOCABULARY), VOCABULARY)
    one, two = tmp_path / "one", tmp_path / "two"
    single, sharded = start(one, 1, base), start(two, 2, base)
    expected, measured = single(), sharded()
    agree(measured, expected)
    assert measured[8][0] < measured[1][0] - 0.3
    assert sorted(path.name for path in two.glob("*.ckpt")) == ["last.ckpt", *(f"step={n}.ckpt" for n in (4, 6, 8))]
    assert (two / "step=8.ckpt").is_dir() and (two / "last.ckpt").readlink() == Path("step=8.ckpt")

    again, halves = tmp_path / "again", tmp_path / "halves"
    shutil.copytree(two / "step=4.ckpt", again / "step=4.ckpt")  # a run that was stopped after step 4
    (again / "last.ckpt").symlink_to("step=4.ckpt")
    agree(start(halves, 2, base, accumulate=2)(), expected)
    resumed = start(again, 2, base, first=4, checkpoint="last")()
    assert {step: resumed[step] for step in range(5, 9)} == {step: measured[step] for step in range(5, 9)}

    consolidate(two / "step=8.ckpt", tmp_path / "merged")
    merged, exported = (load_file(folder / "model.safetensors") for folder in (tmp_path / "merged", two / "export"))
    torch.testing.assert_close(merged, exported, rtol=0, atol=0)
    assert read_vocabulary(tmp_path / "merged") == VOCABULARY
    torch.testing.assert_close(merged, load_file(one / "export" / "model.safetensors"), rtol=1e-3, atol=1e-3)
    consolidate(one / "step=8.ckpt", tmp_path / "merged_one")
    torch.testing.assert_close(
        load_file(tmp_path / "merged_one" / "model.safetensors"), load_file(one / "export" / "model.safetensors")
    )


def test_gathering_what_is_not_sharded() -> None:
    network = nn.Linear(3, 2)
    assert gather_weights(network, keep=False) is None
    torch.testing.assert_close(gather_weights(network, keep=True), dict(network.state_dict()))


def test_checkpoints_of_other_stages_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    (tmp_path / "empty.ckpt").mkdir()
    with pytest.raises(ValueError, match="other.ckpt is of another stage"):
        consolidate_checkpoint(tmp_path / "other.ckpt", tmp_path / "out")
    with pytest.raises(ValueError, match="holds no checkpoint"):
        consolidate_checkpoint(tmp_path / "empty.ckpt", tmp_path / "out")
    with pytest.raises(ValueError, match="missing.ckpt is not there"):
        consolidate_checkpoint(tmp_path / "missing.ckpt", tmp_path / "out")


@pytest.mark.parametrize("content", [b"PK\x03\x04 not a zip", b"", b"\x80\x02}q\x00(X"])
def test_damaged_checkpoints_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cut.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint must be whole, but .*cut.ckpt cannot be read"):
        consolidate_checkpoint(tmp_path / "cut.ckpt", tmp_path / "out")
    states = tmp_path / "shards.ckpt" / "checkpoint" / "mp_rank_00_model_states.pt"
    states.parent.mkdir(parents=True)
    states.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint must be whole, but .*model_states.pt cannot be read"):
        consolidate_checkpoint(tmp_path / "shards.ckpt", tmp_path / "out")
