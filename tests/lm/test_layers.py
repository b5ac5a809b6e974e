"""Norms, gated layers and attention that keep less compute what those of `transformers` do, and the same gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from spiritlm_pl.lm import attention
from spiritlm_pl.lm.layers import LeanMLP, LeanRMSNorm, use_lean_layers

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


def network(family: str, dtype: torch.dtype = torch.float32, **values: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 50, "head_dim": 8}
    config = AutoConfig.for_model(family, **{**sizes, "num_attention_heads": 4, "num_key_value_heads": 2, **values})
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    for name, weight in model.named_parameters():
        torch.nn.init.normal_(weight, mean=float("norm" in name), std=0.2)
    return model.to(dtype)


def loss_and_gradients(model: PreTrainedModel, half: bool) -> tuple[Tensor, dict[str, Tensor]]:
    tokens = torch.randint(50, (2, 17), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
    loss.backward()
    grads = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return loss.detach(), grads


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_those_of_the_family(family: str) -> None:
    plain, lean = network(family).double(), network(family).double()
    use_lean_layers(lean)
    kinds = {type(module) for module in lean.modules()}
    assert {LeanRMSNorm, LeanMLP} <= kinds
    (loss, grads), (found, own) = loss_and_gradients(plain, False), loss_and_gradients(lean, False)
    assert len(own) == len(grads) == len(list(plain.parameters()))
    torch.testing.assert_close(found, loss, rtol=1e-5, atol=0)  # norms of the family are in float32, too
    for name, grad in grads.items():
        torch.testing.assert_close(own[name], grad, rtol=1e-4, atol=1e-6, msg=lambda told, name=name: f"{name}: {told}")


@pytest.mark.parametrize(("dtype", "half"), [(torch.float32, True), (torch.bfloat16, False)])
def test_half_precision_is_as_close_to_exact_gradients_as_before(dtype: torch.dtype, half: bool) -> None:
    _, exact = loss_and_gradients(network("llama", dtype).double(), False)
    off = []
    for lean in (False, True):
        model = network("llama", dtype)
        if lean:
            use_lean_layers(model)
        _, grads = loss_and_gradients(model, half)
        off.append(sum(float((grads[name].double() - exact[name]).square().sum()) for name in exact) ** 0.5)
    assert 0 < off[1] < 1.2 * off[0]


def test_frozen_weights_get_no_gradient() -> None:
    model = network("llama")
    use_lean_layers(model)
    for name, weight in model.named_parameters():
        weight.requires_grad_("q_proj" in name)
    _, grads = loss_and_gradients(model, False)
    assert grads.keys() == {name for name, _ in model.named_parameters() if "q_proj" in name}


def test_other_activations_stay() -> None:
    model = network("llama", hidden_act="gelu")
    use_lean_layers(model)
    assert not any(isinstance(module, LeanMLP) for module in model.modules())


@pytest.mark.parametrize("groups", [1, 3])
def test_attention_weights_are_recomputed_bit_by_bit(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(6, 40, 16), (6 // groups, 40, 16), (6 // groups, 40, 16)]
    parts = [torch.randn(shape, generator=generator).bfloat16().requires_grad_() for shape in shapes]
    factor = torch.randn(6, 40, 16, generator=generator).bfloat16()
    found = []
    for threshold in (41, 40):
        monkeypatch.setattr(attention, "RECOMPUTED_FROM", threshold)
        attended = attention._matmul_attention(*parts, 0.25)
        assert ("Recomputed" in type(attended.grad_fn).__name__) == (threshold == 40)
        found.append([attended, *torch.autograd.grad((attended * factor).sum(), parts)])
    for kept, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(recomputed, kept, rtol=2e-2, atol=2e-2)
        assert torch.equal(kept, recomputed) or groups > 1
