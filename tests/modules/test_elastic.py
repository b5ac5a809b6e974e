"""ZeRO-3 and FSDP2 over 2, then 3, then 1 processes on CPU: losses and optimizer state are those of one run over 2."""

import json
import re
import shutil
import signal
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from spiritlm_pl.data.blocks import write_block, write_manifest
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.interop.deepspeed import consolidate_checkpoint
from spiritlm_pl.interop.distributed import SHARDS, check_shard_files, has_shards, read_rest, read_weights, write_shards
from spiritlm_pl.lm.build import LanguageModelConfig, build_network
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.modules.elastic import make_universal, ranks_of
from spiritlm_pl.vocabulary import Vocabulary

StartRanks = Callable[..., Callable[..., str]]  # the fixture
Start = Callable[..., str]
Train = Callable[..., dict[int, list[float]]]
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
ENGINES = {"zero3": ("freeze=layers.0", "below=1000", "group=3000"), "fsdp2": ("freeze=layers.0", "engine=fsdp2")}


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


@pytest.fixture(autouse=True)
def conversions_begin_warm(python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed's conversion of a checkpoint runs in a process of its own."""
    monkeypatch.setattr(sys, "executable", str(python))


@pytest.fixture
def start(start_ranks: StartRanks, tmp_path: Path) -> Start:
    """Runs the worker, and returns what it prints."""

    def start(run: str, ranks: int, last: int, *more: str, codes: tuple[int, ...] = (0,)) -> str:
        (tmp_path / run).mkdir(exist_ok=True)
        return start_ranks(WORKER, run, "blocks", "base", ranks, last, *more, cwd=tmp_path)(codes)

    return start


@pytest.fixture
def train(start: Start, tmp_path: Path) -> Train:
    """Returns loss and gradient norm after every step."""

    def train(run: str, ranks: int, last: int, *more: str, told: str = "") -> dict[int, list[float]]:
        printed = start(run, ranks, last, *more)
        assert "rows from here on" not in printed and told in printed
        found = json.loads((tmp_path / run / f"losses-{ranks}.json").read_text())
        return {int(step): pair for step, pair in found.items()}

    return train


def measured(printed: str) -> float:
    """Loss of the newest checkpoint on the first validation rows."""
    (found,) = re.findall(r"measured: (\S+)", printed)
    return float(found)


def whole_state(checkpoint: Path) -> dict[str, Any]:
    """Weights and averages by name, and the settings and step counts of the optimizer's groups."""
    if has_shards(checkpoint):
        file = checkpoint.with_suffix(".pt")
        dcp_to_torch_save(checkpoint / SHARDS, file)
        found = torch.load(file, weights_only=False)
        averages, groups = (found["optimizer_0"][name] for name in ("state", "param_groups"))
        for group in groups:
            group["params"] = len(group["params"])
        return {"tensors": [found["state_dict"], averages], "groups": groups}
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
@pytest.mark.parametrize("engine", ENGINES)
def test_other_numbers_of_ranks_go_on_exactly(engine: str, start: Start, train: Train, tmp_path: Path) -> None:
    prepare(tmp_path)
    options = ENGINES[engine]
    told = "no checkpoint was saved at step 6, and earlier ones stay"
    whole = train("whole", 2, 9, "full=1:6", *options, told=told)
    assert sorted(path.name for path in (tmp_path / "whole").iterdir() if path.is_dir() and not path.is_symlink()) == [
        "step=3.ckpt",
        "step=9.ckpt",
    ]
    assert sorted(whole) == list(range(1, 10)) and whole[9][0] < whole[1][0] - 0.3
    run = tmp_path / "run"
    shutil.copytree(tmp_path / "whole" / "step=3.ckpt", run / "step=3.ckpt")  # as if stopped after step 3
    three = train("run", 3, 6, *options)
    if engine == "zero3":
        assert [ranks_of(run / name) for name in ("step=3.ckpt", "step=6.ckpt")] == [2, 3]
    one = train("run", 1, 9, *options)
    assert (sorted(three), sorted(one)) == ([4, 5, 6], [7, 8, 9])
    for step, pair in (three | one).items():
        assert pair == pytest.approx(whole[step], rel=2e-6), step
    for saved, loaded in (("step=3.ckpt", "start-3"), ("step=6.ckpt", "start-1")):
        before, after = whole_state(run / saved), whole_state(run / loaded)
        assert {group["weight_decay"] for group in before["groups"]} == {0.9, 0.0}
        torch.testing.assert_close(after, before, rtol=0, atol=0)
    alone = measured(start("run", 1, 9, "measure=1", *options))  # one rank wrote it
    assert measured(start("run", 2, 9, "measure=1", *options)) == pytest.approx(alone, rel=1e-6)


@pytest.mark.slow
def test_fsdp2_is_as_one_process(train: Train, tmp_path: Path) -> None:
    """Clipping, layers that are frozen in part or computed again, offloaded state, writing in a thread, and exports."""
    prepare(tmp_path)
    options = ("freeze=mlp", "clip=0.2", "export=1")
    one = train("one", 1, 6, "engine=one", *options)
    told = "no checkpoint was saved as step=3.ckpt, and earlier ones stay"
    more = ("engine=fsdp2", "recompute=1", "offload=1", "background=1", "full=1:3")
    two = train("two", 2, 6, *more, *options, told=told)
    assert min(norm for _, norm in one.values()) > 0.2
    for step in range(1, 7):
        assert two[step] == pytest.approx(one[step], rel=1e-6), step
    assert sorted(path.name for path in (tmp_path / "two").glob("*.ckpt")) == ["last.ckpt", "step=6.ckpt"]
    assert (tmp_path / "two" / "last.ckpt").resolve().name == "step=6.ckpt"
    ours, theirs = (load_file(tmp_path / name / "export" / "model.safetensors") for name in ("two", "one"))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    consolidate_checkpoint(tmp_path / "two" / "step=6.ckpt", tmp_path / "joined")
    torch.testing.assert_close(load_file(tmp_path / "joined" / "model.safetensors"), ours, rtol=0, atol=0)
    read = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("two/export", "joined")]
    assert read[0]["architectures"] == read[1]["architectures"] == ["LlamaForCausalLM"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "rank", "codes"),
    [
        ("zero3", 1, (1, -signal.SIGKILL)),  # killed by Lightning's launcher, if that is earlier than its own end
        ("fsdp2", 1, (1, -signal.SIGKILL)),
        ("zero3", 0, (-signal.SIGKILL,)),
    ],
)
def test_a_dead_rank_is_named_and_the_others_end(
    start: Start, tmp_path: Path, engine: str, rank: int, codes: tuple[int, ...]
) -> None:
    prepare(tmp_path)
    printed = start("run", 2, 1000, f"die={rank}:3", *ENGINES[engine], codes=codes)
    assert re.search(rf"spiritlm: error: rank {rank}\b.* is dead, so that the others cannot go on", printed)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_flipped_bit_of_a_shard_is_named(engine: str, start: Start, train: Train, tmp_path: Path) -> None:
    prepare(tmp_path)
    train("run", 2, 3, *ENGINES[engine])
    shards = [path for path in (tmp_path / "run").glob("step=3.ckpt/*/*") if path.suffix in (".pt", ".distcp")]
    largest = max(shards, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 4
    largest.write_bytes(content)
    printed = start("run", 2, 6, *ENGINES[engine], codes=(1,))
    assert re.search(rf"checkpoint must be whole, but .*{re.escape(str(largest))}", printed)


def test_damaged_contents_of_shards_are_named(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/ranks", rank=0, world_size=1)
    folder = tmp_path / "a.ckpt" / SHARDS
    folder.mkdir(parents=True)
    rest = BytesIO()
    torch.save({"step": 1}, rest)
    group = torch.distributed.group.WORLD
    write_shards({"state_dict": {"weight": torch.arange(100.0)}}, rest.getvalue(), folder, group)
    torch.distributed.destroy_process_group()
    check_shard_files(folder.parent)
    for path in folder.iterdir():
        whole = path.read_bytes()
        for place in range(0, len(whole), 7):
            content = bytearray(whole)
            content[place] ^= 1
            path.write_bytes(content)
            try:
                check_shard_files(folder.parent)
            except ValueError as error:
                assert str(folder.parent) in str(error)
            else:
                assert path.name != ".metadata"  # some bits of an archive or a list mean nothing
                assert torch.equal(read_weights(folder.parent)["weight"], torch.arange(100.0))
                assert read_rest(folder.parent) == {"step": 1}
        path.write_bytes(whole)


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
