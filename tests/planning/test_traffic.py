"""Traffic and checkpoints on paper against what processes over gloo send and write."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoConfig

from spiritlm_pl.cli.plan import PRESETS
from spiritlm_pl.lm.cost import model_size
from spiritlm_pl.planning.checkpoints import Checkpoints
from spiritlm_pl.planning.traffic import Traffic, fsdp2, zero3

StartRanks = Callable[..., Callable[..., str]]  # the fixture
WORKER = Path(__file__).with_name("traffic_worker.py")
MODEL = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4}
SIZE, TIED = (
    model_size(
        AutoConfig.for_model("llama", vocab_size=1024, max_position_embeddings=64, tie_word_embeddings=tied, **MODEL)
    )
    for tied in (False, True)
)
KEPT_DISTANCE = 400_000  # as in the worker


def agree(planned: Traffic, folder: Path) -> None:
    """What the processes gave to collectives, and what their connections sent, are planned."""
    measured: dict[str, float] = json.loads((folder / "measured.json").read_text())
    assert measured["gathered"] == pytest.approx(planned.gathered, rel=0.1)
    assert measured["reduced"] == pytest.approx(planned.reduced, rel=0.1)
    assert measured.get("other", 0) < 0.01 * planned.each
    # On the wire: gloo sums whole tensors where NCCL sums shares, and so sends the gradients twice.
    twice = planned.reduced * (planned.gpus - 1) / planned.gpus
    assert measured["sent"] - twice == pytest.approx(planned.each, rel=0.1)
    assert measured["received"] == pytest.approx(measured["sent"], rel=0.01)


def check_size(folder: Path, gpus: int, parameters: int = SIZE.parameters) -> None:
    written = [path.stat().st_size for path in (folder, *folder.rglob("*")) if path.is_file()]
    planned = Checkpoints(parameters=parameters, gpus=gpus, kept=3, bandwidth=1e9)
    assert sum(written) == pytest.approx(planned.size, rel=0.1)
    assert max(written) == pytest.approx(planned.part, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "batches", "recompute", "bf16", "tied"), [(3, 1, 0, 0, 1), (2, 2, 1, 1, 0)])
def test_zero3_sends_and_writes_what_is_planned(
    start_ranks: StartRanks, tmp_path: Path, ranks: int, batches: int, recompute: int, bf16: int, tied: int
) -> None:
    start_ranks(WORKER, tmp_path, "zero3", ranks, batches, recompute, bf16, tied)()
    size = TIED if tied else SIZE
    agree(zero3(size, ranks, batches, bool(recompute), KEPT_DISTANCE, 2 if bf16 else 4), tmp_path)
    check_size(tmp_path / "checkpoint", ranks, size.parameters)


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "batches", "recompute", "bf16", "tied"), [(3, 1, 0, 0, 1), (2, 2, 1, 1, 0)])
def test_fsdp2_sends_and_writes_what_is_planned(
    start_ranks: StartRanks, tmp_path: Path, ranks: int, batches: int, recompute: int, bf16: int, tied: int
) -> None:
    start_ranks(WORKER, tmp_path, "fsdp2", ranks, batches, recompute, bf16, tied)()
    size = TIED if tied else SIZE
    agree(fsdp2(size, ranks, batches, gather_width=2 if bf16 else 4), tmp_path)
    written = size.parameters + (size.input_layer if tied else 0)  # tied weights are written under both names
    check_size(tmp_path / "checkpoint", ranks, written)


@pytest.mark.slow
def test_checkpoint_of_one_process_is_as_large(start_ranks: StartRanks, tmp_path: Path) -> None:
    start_ranks(WORKER, tmp_path, "lightning", 1, 1, 0, 0, 0)()
    check_size(tmp_path / "checkpoint", 1)


def test_published_size() -> None:
    size = model_size(AutoConfig.for_model(**PRESETS["llama-2-7b"]))
    layers, outside = size.layer_parameters, size.input_layer + size.output_layer
    assert size.parameters == layers + outside + size.hidden and not size.tied
    sharded = fsdp2(size, 64, 1)
    assert sharded.gathered == 2 * (size.parameters + layers) and sharded.reduced == 4 * size.parameters
    assert sharded.total == pytest.approx(64 * sharded.each) and fsdp2(size, 1, 1).each == 0
    assert fsdp2(size, 64, 3).each == pytest.approx(3 * sharded.each)
    assert fsdp2(size, 64, 1, gather_again=False).gathered == 2 * size.parameters
    zero = zero3(size, 64, 1, checkpointing=True)
    assert zero.reduced == 2 * size.parameters
    kept = size.output_layer + (1e9 - 2 * size.output_layer) / 3  # whole between forward and backward pass
    assert zero.gathered == pytest.approx(2 * (2 * size.parameters - size.hidden - kept), rel=1e-6)
    assert zero3(size, 64, 1, False).gathered < zero.gathered
    checkpoints = Checkpoints(parameters=size.parameters, gpus=64, kept=3, bandwidth=5e9)
    assert checkpoints.size == 12 * size.parameters and checkpoints.room == 4 * checkpoints.size
    assert checkpoints.share(1000, checkpoints.seconds / 10) == pytest.approx(1 / 101)


def test_a_small_model_stays_whole_between_forward_and_backward() -> None:
    tied = model_size(AutoConfig.for_model(**PRESETS["smollm2-135m"]))
    assert tied.tied and tied.parameters == tied.layer_parameters + tied.input_layer + tied.hidden
    assert zero3(tied, 8, 1, False).gathered == 2 * tied.parameters
    everything = 2 * (2 * tied.layer_parameters + 3 * tied.input_layer + tied.hidden)
    assert zero3(tied, 8, 1, False, kept_distance=0).gathered == pytest.approx(everything)


def test_what_cannot_be_is_told() -> None:
    for name, given in (("gpus", (0, 1)), ("batches", (1, 0))):
        for engine in (lambda given: zero3(SIZE, *given, checkpointing=False), lambda given: fsdp2(SIZE, *given)):
            with pytest.raises(ValueError, match=f"{name} must be at least 1, but is 0"):
                engine(given)
    with pytest.raises(ValueError, match="kept_checkpoints must be at least 1, but is 0"):
        Checkpoints(parameters=1, gpus=1, kept=0, bandwidth=1e9)
    with pytest.raises(ValueError, match="disk_speed must be above 0, but is 0"):
        Checkpoints(parameters=1, gpus=1, kept=1, bandwidth=0)
    with pytest.raises(ValueError, match="checkpoint_every must be at least 1, but is 0"):
        Checkpoints(parameters=1, gpus=1, kept=1, bandwidth=1e9).share(0, 1.0)
