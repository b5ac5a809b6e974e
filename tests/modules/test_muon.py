"""Muon for the matrices of layers: which they are, the steps of both optimizers, exact resuming, what is refused."""

import copy

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from transformers import AutoConfig, AutoModelForCausalLM

from spiritlm_pl.adapters.settings import LoRA
from spiritlm_pl.lm.build import LanguageModelConfig, build_network
from spiritlm_pl.lm.muon import layer_matrices
from spiritlm_pl.lm.optimizer import OptimizerSettings, build_adamw, build_optimizer
from spiritlm_pl.lm.schedule import Constant
from spiritlm_pl.modules.lm import LanguageModelModule
from tests.modules.conftest import LLAMA

SETTINGS = OptimizerSettings(lr=1e-2, muon_lr=2e-2)
NETWORK = LanguageModelConfig(config=LLAMA)


def module(settings=SETTINGS, network=NETWORK, **options):
    return LanguageModelModule(network, optimizer=settings, schedule=Constant(1), units_per_second=18.0, **options)


@pytest.mark.parametrize("tied", [False, True])
def test_matrices_of_layers_alone_are_muons(tied, corpus):
    network = build_network(LanguageModelConfig(config=LLAMA | {"tie_word_embeddings": tied}), corpus[1])
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found = {names[id(matrix)] for matrix in layer_matrices(network)}
    assert found == {name for name in names.values() if name.endswith("proj.weight")} and len(found) == 7
    optimizer = build_optimizer(network, SETTINGS)
    muons, decayed, others = (
        {names[id(parameter)] for parameter in group["params"]} for group in optimizer.param_groups
    )
    assert muons == found and decayed == {"model.embed_tokens.weight"} | (set() if tied else {"lm_head.weight"})
    assert all("norm" in name for name in others) and len(muons | decayed | others) == len(names)
    assert [group["lr"] for group in optimizer.param_groups] == [2e-2, 1e-2, 1e-2]


def test_a_step_is_that_of_both_optimizers(corpus):
    network = build_network(NETWORK, corpus[1])
    apart = copy.deepcopy(network)
    matrices = layer_matrices(apart)
    taken = {id(matrix) for matrix in matrices}
    adamw = build_adamw(apart, SETTINGS)
    for group in adamw.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in taken]
    muon = torch.optim.Muon(matrices, lr=2e-2, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    optimizer = build_optimizer(network, SETTINGS)
    tokens = torch.arange(24).view(2, 12)
    for _ in range(3):
        for one, steps in ((network, [optimizer]), (apart, [muon, adamw])):
            one.zero_grad()
            one(input_ids=tokens, labels=tokens).loss.backward()
            for step in steps:
                step.step()
    for one, other in zip(network.parameters(), apart.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_an_interrupted_run_goes_on_exactly(corpus, tmp_path, make_data, make_trainer):
    def fit(folder, checkpoint=None):
        one = module()
        keep = ModelCheckpoint(folder, every_n_train_steps=3, save_top_k=-1, filename="{step}")
        make_trainer(6, [keep]).fit(one, make_data(corpus[0]), ckpt_path=checkpoint)
        return one

    whole = fit(tmp_path / "whole")
    early = torch.load(tmp_path / "whole" / "step=3.ckpt", weights_only=True)["state_dict"]
    resumed = fit(tmp_path / "resumed", tmp_path / "whole" / "step=3.ckpt")
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]) and not torch.equal(weight, early[name])


@pytest.mark.filterwarnings("ignore:Be aware that when using")
@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        (
            OptimizerSettings(lr=1e-2),
            SETTINGS,
            "must be null, as AdamW trained all weights in the run .* but is 0.02 instead",
        ),
        (
            SETTINGS,
            OptimizerSettings(lr=1e-2),
            "must be a rate, as matrices were trained by Muon in the run .* but is null",
        ),
    ],
)
def test_a_run_goes_on_by_the_optimizer_that_it_began_with(
    before, now, message, corpus, tmp_path, make_data, make_trainer
):
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=2, filename="{step}")
    make_trainer(2, [keep]).fit(module(before), make_data(corpus[0]))
    with pytest.raises(ValueError, match=f"optimizer.muon_lr {message}"):
        make_trainer(4).fit(module(now), make_data(corpus[0]), ckpt_path=tmp_path / "step=2.ckpt")
    make_trainer().validate(module(now), make_data(corpus[0]), ckpt_path=tmp_path / "step=2.ckpt", verbose=False)


FAMILIES = {
    "gpt_oss": {"num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 8, "num_key_value_heads": 4},
    "mamba": {"state_size": 4},
    "mixtral": {"num_local_experts": 2, "num_key_value_heads": 4},
    "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 4},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_no_matrix_of_a_layer_is_not_muons(family):
    values = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = AutoConfig.for_model(family, vocab_size=64, **(values | FAMILIES[family]))
    network = AutoModelForCausalLM.from_config(config)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found = [names[id(matrix)] for matrix in layer_matrices(network)]
    assert found and all(name.endswith(".weight") for name in found)
    assert not [name for name in found if "norm" in name or "embed" in name or "wpe" in name or "lm_head" in name]


def test_a_copy_steps_and_a_further_group_is_adamws(corpus):
    network = build_network(NETWORK, corpus[1])
    optimizer = build_optimizer(network, SETTINGS)
    further = torch.nn.Parameter(torch.ones(3))
    optimizer.add_param_group({"params": [further]})
    further.grad = torch.ones(3)
    optimizer.step()
    assert (further < 1).all()
    copied = copy.deepcopy(optimizer)
    [moved] = copied.param_groups[-1]["params"]
    moved.grad = torch.ones(3)
    copied.step()
    assert (moved < further).all() and torch.equal(optimizer.param_groups[-1]["params"][0], further)


def test_adapters_and_divided_matrices_are_refused(corpus, make_data, make_trainer):
    with pytest.raises(ValueError, match="optimizer.muon_lr must be null with an adapter, but is 0.02 instead"):
        make_trainer().fit(module(adapter=LoRA()), make_data(corpus[0]))
    one = module()
    one.trainer = make_trainer()
    one.trainer.strategy.__class__ = ModelParallelStrategy
    with pytest.raises(ValueError, match="optimizer.muon_lr must be null with ModelParallelStrategy, which divides"):
        one._check_muon()
    for wrong in ({"muon_lr": -1.0}, {"muon_momentum": 1.0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be in"):
            OptimizerSettings(**wrong)
    network = build_network(NETWORK, corpus[1])
    for matrix in layer_matrices(network):
        matrix.requires_grad_(False)
    with pytest.raises(ValueError, match="optimizer.muon_lr must be null for a network without trained matrices"):
        build_optimizer(network, SETTINGS)
