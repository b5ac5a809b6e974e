"""What is trained with an adapter, and that its gradients are those of the same function written out."""

from pathlib import Path

import pytest
import torch
from torch.func import functional_call
from torch.testing import assert_close

from spiritlm_pl.adapters.injection import put_adapter, trained_shares
from spiritlm_pl.adapters.settings import LoRA
from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm.build import LanguageModelConfig, build_network, token_losses
from spiritlm_pl.lm.loss import HAS_TORCH_FUSED, LossSettings
from spiritlm_pl.lm.probe import random_rows
from spiritlm_pl.vocabulary import Vocabulary

from .conftest import SETTINGS, adapted, trained


@pytest.fixture
def rows(vocabulary: Vocabulary) -> TokenBatch:
    batch = random_rows()
    batch.tokens.random_(0, vocabulary.num_tokens, generator=torch.Generator().manual_seed(3))
    return batch


def test_a_new_adapter_changes_nothing_and_freezes_the_rest(base: Path, vocabulary: Vocabulary, rows: TokenBatch):
    config = LanguageModelConfig(checkpoint=str(base))
    plain, network = build_network(config, vocabulary), build_network(config, vocabulary)
    put_adapter(network, SETTINGS, vocabulary)
    assert type(network) is type(plain)
    (expected, *_), (total, *_) = (token_losses(one, rows) for one in (plain, network))
    assert_close(total, expected)
    total.backward()
    names = trained(network)
    assert all(".lora_" in name or name.endswith(".rows") for name in names)
    assert len([name for name in names if ".lora_A." in name]) == 2 * 7
    assert len([name for name in names if name.endswith(".rows")]) == (1 if plain.config.tie_word_embeddings else 2)
    assert all((value.grad is not None) == value.requires_grad for value in network.parameters())
    shares = trained_shares(network)
    assert shares == (sum(map(torch.numel, names.values())), sum(map(torch.numel, network.parameters())))


def test_the_same_seed_draws_the_same_adapter(base: Path, vocabulary: Vocabulary):
    drawn = []
    for seed, before in ((0, 1), (0, 2), (5, 1)):
        network = build_network(LanguageModelConfig(checkpoint=str(base)), vocabulary)
        torch.manual_seed(before)
        put_adapter(network, LoRA(rank=4, seed=seed), vocabulary)
        drawn.append(trained(network))
    same, other = (all(torch.equal(drawn[0][name], one[name]) for name in one) for one in drawn[1:])
    assert same and not other


@pytest.mark.parametrize("method", ["chunked", "full", "torch"])
@pytest.mark.parametrize("embeddings", ["new", "all", "none"])
def test_gradients_are_those_of_whole_matrices(
    base: Path, vocabulary: Vocabulary, rows: TokenBatch, method: str, embeddings: str
):
    if method == "torch" and not HAS_TORCH_FUSED:
        pytest.skip("not in this torch")
    settings = LoRA(rank=4, alpha=8, embeddings=embeddings)
    network = adapted(base, vocabulary, settings, loss=LossSettings(method=method, chunk=7))
    plain = build_network(LanguageModelConfig(checkpoint=str(base)), vocabulary)
    total, losses, _ = token_losses(network, rows)
    total.backward()

    state = dict(network.named_parameters(remove_duplicate=False))
    whole = {}  # each matrix of the plain network as a function of what is trained
    for name, value in plain.named_parameters(remove_duplicate=False):
        stem = name.removesuffix(".weight")
        if f"{stem}.rows" in state:
            own, first = state[f"{stem}.rows"], vocabulary.num_text if embeddings == "new" else 0
            whole[name] = torch.cat([value.detach()[:first], own, value.detach()[first + len(own) :]])
        elif f"{stem}.lora_A.default.weight" in state:
            up, down = (state[f"{stem}.lora_{part}.default.weight"] for part in "BA")
            whole[name] = value.detach() + 2 * up @ down
        else:
            whole[name] = value.detach()
    own_names = trained(network)
    ours = {name: value.grad for name, value in own_names.items()}
    hidden = functional_call(
        plain.model,
        {name.removeprefix("model."): value for name, value in whole.items() if name.startswith("model.")},
        kwargs={"input_ids": rows.tokens, "position_ids": rows.position_ids, **_attention(rows)},
    ).last_hidden_state
    logits = hidden[:, :-1] @ whole["lm_head.weight"].T
    wanted = rows.loss_mask[:, 1:] & (rows.segment_ids[:, 1:] == rows.segment_ids[:, :-1])
    expected = torch.nn.functional.cross_entropy(logits[wanted], rows.tokens[:, 1:][wanted], reduction="none")
    assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    gradients = torch.autograd.grad(expected.sum(), list(own_names.values()))
    for (name, found), gradient in zip(ours.items(), gradients, strict=True):
        assert_close(found, gradient, rtol=1e-3, atol=1e-4, msg=lambda told, name=name: f"{name}: {told}")


def _attention(rows: TokenBatch):
    from spiritlm_pl.lm import attention

    return {
        "attention_mask": attention.pass_through_mask(rows),
        "bounds": attention.packing(rows, False),
        "use_cache": False,
    }


def test_recomputed_layers_give_the_same_gradients(base: Path, vocabulary: Vocabulary, rows: TokenBatch):
    found = []
    for again in (False, True):
        network = adapted(base, vocabulary, gradient_checkpointing=again)
        token_losses(network, rows)[0].backward()
        found.append({name: value.grad for name, value in trained(network).items()})
    assert_close(found[0], found[1], rtol=0, atol=0)


def test_adapters_of_frozen_bfloat16_are_float32(base: Path, vocabulary: Vocabulary, rows: TokenBatch):
    network = adapted(base, vocabulary, dtype="bfloat16")
    assert all(
        value.dtype == (torch.float32 if value.requires_grad else torch.bfloat16) for value in network.parameters()
    )
    with torch.autocast("cpu", torch.bfloat16):
        total, *_ = token_losses(network, rows)
    total.backward()
    exact = adapted(base, vocabulary)
    token_losses(exact, rows)[0].backward()
    assert_close(total, token_losses(exact, rows)[0], rtol=0.02, atol=0)
    for ours, theirs in zip(trained(network).values(), trained(exact).values(), strict=True):
        cosine = torch.nn.functional.cosine_similarity(ours.grad.flatten(), theirs.grad.flatten(), dim=0)
        assert cosine > 0.99


def test_named_layers_alone(base: Path, vocabulary: Vocabulary):
    network = adapted(base, vocabulary, LoRA(target_modules=["v_proj", "q_proj"], embeddings="none"))
    assert {name.split(".")[4] for name in trained(network)} == {"q_proj", "v_proj"}
    with pytest.raises(ValueError, match="target_modules must name some of down_proj, .*, but one is 'proj'"):
        adapted(base, vocabulary, LoRA(target_modules=["q_proj", "proj"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank must be at least 1, but is 0"),
        ({"alpha": 0}, "alpha must be at least 1, but is 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), but is 1.0"),
        ({"target_modules": []}, "target_modules must name a layer"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        LoRA(**settings)
