"""Schedules, optimizer groups, operations and memory on paper."""

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler
from transformers import AutoConfig
from transformers.optimization import (
    get_constant_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_wsd_schedule,
)

from spiritlm_pl.cli.plan import PRESETS, plan
from spiritlm_pl.lm.build import build_network
from spiritlm_pl.lm.cost import memory, model_size, tokens_per_second
from spiritlm_pl.lm.flops import costly_weights, matrix_weights, peak_flops
from spiritlm_pl.lm.optimizer import OptimizerSettings, build_adamw, decay_groups
from spiritlm_pl.lm.schedule import Constant, Cosine, WarmupStableDecay


def test_schedules():
    constant = Constant(4)
    assert [constant(step) for step in (0, 1, 3, 4, 10**6)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    cosine = Cosine(total_steps=12, warmup_steps=2, floor=0.1)
    values = [cosine(step) for step in range(20)]
    assert values[1] == values[2] == 1.0 and values[7] == pytest.approx(0.55)
    assert values[12] == pytest.approx(0.1) and values[19] == pytest.approx(0.1)
    assert Constant(0)(0) == 1.0
    with pytest.raises(ValueError, match="total_steps must be above warmup_steps 2000, but is 5"):
        Cosine(total_steps=5)


def test_a_schedule_is_as_long_as_the_run():
    cosine, given = Cosine(warmup_steps=2), Cosine(total_steps=12, warmup_steps=2)
    assert [cosine.within(12)(step) for step in range(20)] == [given(step) for step in range(20)]
    assert given.within(40) is given and Constant(4).within(-1)(9) == 1.0
    assert [Cosine(warmup_steps=4).within(2)(step) for step in range(3)] == [0.25, 0.5, 0.75]
    assert Cosine(warmup_steps=2).within(2)(2) == 1.0
    for unknown in (lambda: cosine.within(-1), lambda: cosine(5)):
        with pytest.raises(ValueError, match="total_steps must be given where the trainer has no max_steps"):
            unknown()


def test_a_stable_rate_goes_to_zero_at_the_end_of_the_run():
    unknown = WarmupStableDecay(warmup_steps=2, decay=0.4)
    assert unknown.within(-1) is unknown and unknown.decay_start == float("inf") and unknown(10**6) == 1.0
    known = unknown.within(10)
    assert [known(step) for step in range(12)] == pytest.approx(
        [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0], abs=1e-12
    )
    assert unknown.total_steps is None and known.within(40) is known
    assert unknown.waits_for_length and not known.waits_for_length and not Constant(4).waits_for_length
    line = WarmupStableDecay(total_steps=12, warmup_steps=2, decay=1.0)
    assert [line(step) for step in (1, 2, 7, 12)] == [1.0, 1.0, 0.5, 0.0]
    assert [WarmupStableDecay(warmup_steps=4).within(2)(step) for step in range(3)] == [0.25, 0.5, 0.75]
    for decay in (0, 1.5):
        with pytest.raises(ValueError, match=f"decay must be above 0 and at most 1, but is {decay} instead"):
            WarmupStableDecay(decay=decay)
    with pytest.raises(ValueError, match="total_steps must be above warmup_steps 2000, but is 5"):
        WarmupStableDecay(total_steps=5)


def test_schedules_are_those_of_transformers_one_step_earlier():
    """That library begins with a step at a rate of 0, and climbs again after the end."""

    def rates(make) -> list[float]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
        schedule: LRScheduler = make(optimizer)
        found = []
        for _ in range(20):
            found.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        return found

    constant = rates(lambda optimizer: get_constant_schedule_with_warmup(optimizer, 5))
    cosine = rates(lambda optimizer: get_cosine_with_min_lr_schedule_with_warmup(optimizer, 5, 20, min_lr_rate=0.1))
    assert [Constant(5)(step) for step in range(5)] == constant[1:6]
    assert [Cosine(20, 5, 0.1)(step) for step in range(5)] == cosine[1:6]
    assert [Cosine(20, 5, 0.1)(step) for step in range(5, 20)] == pytest.approx(cosine[5:], rel=1e-12)
    stable = rates(lambda optimizer: get_wsd_schedule(optimizer, 5, 8, 20, decay_type="linear"))
    ours = WarmupStableDecay(20, 5, decay=0.4)
    assert [ours(step) for step in range(5)] == stable[1:6]
    assert [ours(step) for step in range(5, 20)] == pytest.approx(stable[5:], rel=1e-12)
    crossed = rates(lambda optimizer: get_wsd_schedule(optimizer, 8, 5, 10, decay_type="linear"))
    assert crossed[7:9] == pytest.approx([0.875, 0.4])  # docs/libraries.md
    with pytest.raises(ValueError, match="num_training_steps or num_stable_steps must be specified"):
        rates(lambda optimizer: get_wsd_schedule(optimizer, 5, 8))


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA L4", 121e12),
        ("Tesla V100-SXM2-32GB", 125e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),  # a seventh of the device
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA A10G", None),
    ],
)
def test_a_device_is_not_taken_for_another(name, peak, monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: name)
    assert peak_flops(torch.device("cuda", 0)) == peak
    assert peak_flops(torch.device("cpu")) is None


def test_only_matrices_decay(tiny, vocabulary):
    network = build_network(tiny, vocabulary)
    decayed, others = decay_groups(network, 0.1)
    assert {p.ndim for p in decayed["params"]} == {2} and {p.ndim for p in others["params"]} == {1}
    assert sum(p.numel() for g in (decayed, others) for p in g["params"]) == network.num_parameters()
    assert [g["weight_decay"] for g in build_adamw(network, OptimizerSettings()).param_groups] == [0.1, 0.0]
    with pytest.raises(ValueError, match="lr must be in"):
        OptimizerSettings(lr=-1)


def test_llama_2_7b_is_as_published():
    size = model_size(AutoConfig.for_model(**PRESETS["llama-2-7b"]))
    assert size.parameters == 6_738_415_616 + 2 * 512 * 4096  # Llama 2's own, and 512 new rows twice
    one, sharded = (memory(size, gpus, 3, 4, 4096, checkpointing=True) for gpus in (1, 64))
    assert one.gpu > 80e9 > sharded.gpu
    assert one.weights == 2 * size.parameters and sharded.optimizer == 12 * size.parameters / 64
    offloaded = memory(size, 1, 3, 4, 4096, checkpointing=True, offload_optimizer=True)
    assert offloaded.gpu < 80e9 and offloaded.host > 14 * size.parameters
    speed = tokens_per_second(size, 4096, 312e12, 0.40, recompute=False)
    assert speed == pytest.approx(2800, rel=0.05)  # tokens a second and A100
    assert 200e3 * 2**20 / speed / 3600 == pytest.approx(21_000, rel=0.06)  # A100 hours


@pytest.mark.parametrize("family", ["mamba2", "rwkv", "bloom"])
def test_families_that_no_plan_was_measured_for_are_told(family):
    if family == "bloom":  # other names of the same sizes
        assert model_size(AutoConfig.for_model("bloom", hidden_size=64, n_layer=2, n_head=4)).layers == 2
    else:
        with pytest.raises(ValueError, match=f"memory was measured on those, but {family} has no num_attention_heads"):
            model_size(AutoConfig.for_model(family))


def test_kept_activations_are_the_measured_ones():
    """The plan's bytes a token and layer against what autograd saves in bf16 with flash attention."""

    def saved(layers: int) -> int:
        config = AutoConfig.for_model(
            "llama",
            hidden_size=128,
            intermediate_size=192,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=64,
        )
        from transformers import AutoModelForCausalLM

        network = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
        seen = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                seen[storage.data_ptr()] = (storage.nbytes(), tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            network.model(input_ids=torch.zeros(1, 256, dtype=torch.long), use_cache=False)
        return sum(size for size, _ in seen.values())

    measured = (saved(3) - saved(2)) / 256
    assert measured == pytest.approx(20 * 128 + 4 * 64 + 8 * 192, rel=0.05)


def test_weights_of_matrix_products(tiny, vocabulary):
    network = build_network(tiny, vocabulary)
    vectors = sum(p.numel() for p in network.parameters() if p.ndim == 1)
    embedding = network.get_input_embeddings().weight.numel()
    assert matrix_weights(network) == network.num_parameters() - vectors - embedding


def test_plan_prints_a_table(capsys):
    plan(gpus=[1, 8])
    printed = capsys.readouterr().out
    assert "6.74 G parameters" in printed and "8 GPUs of 80 GB" in printed and "21k A100 hours" in printed
    with pytest.raises(ValueError, match="gpus must be at least 1, but is 0"):
        plan(gpus=[0])
    with pytest.raises(ValueError, match="model must be a folder or a hub name, .*llama-2-7b"):
        plan(model="no/such/model/at/all")


def test_plan_of_a_folder_with_all_models_is_that_of_its_language_model(tiny, vocabulary, tmp_path, capsys):
    network = build_network(tiny, vocabulary)
    network.save_pretrained(tmp_path / "lm")
    plan(str(tmp_path), gpus=[1, 1])
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        f"{network.num_parameters() / 1e6:.2f} M parameters" in printed
        and printed.count("Memory of 1 GPU of 80 GB") == 1
    )


def test_operations_of_frozen_weights_are_two_thirds(tiny, vocabulary):
    network = build_network(tiny, vocabulary)
    assert costly_weights(network) == matrix_weights(network)
    network.requires_grad_(False)
    assert costly_weights(network) == pytest.approx(matrix_weights(network) * 2 / 3)
