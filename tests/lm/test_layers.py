"""Norms, gated layers and attention that keep less compute what those of `transformers` do, and the same gradients."""

import pickle
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm import attention, build, layers
from spiritlm_pl.lm.layers import LeanMLP, LeanRMSNorm, use_lean_layers
from spiritlm_pl.lm.loss import LossSettings

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


@pytest.mark.parametrize("smallest", [1.0, 1e-3, 0.0])  # without an inverse, the norm keeps its input
def test_a_norm_that_keeps_its_output_has_the_exact_gradients(smallest: float) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, factor = (torch.randn(3, 5000, 32, generator=generator) for _ in range(2))  # of several pieces
    weight = torch.randn(32, generator=generator)
    weight[3] = smallest
    found = []
    for dtype in (torch.float64, torch.float32):
        norm = LlamaRMSNorm(32).to(dtype)
        norm.weight.data.copy_(weight)
        if dtype == torch.float32:
            norm.__class__ = LeanRMSNorm
        given = hidden.to(dtype).requires_grad_()
        normed = norm(given)
        found.append([normed, *torch.autograd.grad((normed * factor).sum(), [given, norm.weight])])
        own_input = any(part.data_ptr() == given.data_ptr() for part in saved_of(norm, given))
        assert dtype == torch.float64 or own_input == (smallest == 0)
    for exact, lean in zip(*found, strict=True):
        torch.testing.assert_close(lean.double(), exact, rtol=1e-4, atol=1e-3)


def saved_of(compute: Callable[[Tensor], Tensor], given: Tensor) -> list[Tensor]:
    """Return what a computation keeps for its backward pass."""
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda part: saved.append(part) or part, lambda part: part):
        compute(given)
    return saved


@pytest.mark.parametrize("half", [False, True])
def test_a_gated_layer_computes_its_product_again_bit_by_bit(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers.kept, "LARGE_INPUT", 1)
    mlp = network("llama").model.layers[0].mlp
    mlp.__class__ = LeanMLP
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 7, 32, generator=generator)
    found, sizes = [], []
    for recomputes in (True, False):
        mlp.recomputes = recomputes
        mlp.zero_grad()
        given = hidden.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            result = mlp(given)
            sizes.append(sum(part.shape[-1] == 48 and part.numel() == 2 * 7 * 48 for part in saved_of(mlp, given)))
        result.square().sum().backward()
        found.append([result, given.grad, *(cast(Tensor, weight.grad) for weight in mlp.parameters())])
    assert sizes == [2, 3]  # the two factors, and their product
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


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


def packed_batch(length: int = 24) -> TokenBatch:
    """Two rows of three documents each."""
    lengths = [length // 3, length // 2, length - length // 3 - length // 2] * 2
    positions = torch.cat([torch.arange(each) for each in lengths]).view(2, length)
    segments = torch.cat([torch.full((each,), place) for place, each in enumerate(lengths)]).view(2, length)
    return TokenBatch(
        tokens=torch.randint(50, (2, length), generator=torch.Generator().manual_seed(0)),
        position_ids=positions,
        segment_ids=segments,
        cu_seqlens=torch.tensor([0, *lengths]).cumsum(0).int(),
        loss_mask=positions > 0,
        step=0,
    )


def packed_gradients(
    family: str, lean: bool, half: bool, dtype: torch.dtype = torch.float32, **values: Any
) -> tuple[Tensor, dict[str, Tensor], PreTrainedModel]:
    """Loss and gradients of packed rows with the layers of the family or those of this project."""
    model = network(family, dtype, **values)
    model.set_attn_implementation(attention.NAME)
    build._let_head_compute_loss(model, LossSettings())
    if lean:
        use_lean_layers(model)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        loss = build.token_losses(model.train(), packed_batch())[0]
    loss.backward()
    return loss.detach(), {name: cast(Tensor, weight.grad) for name, weight in model.named_parameters()}, model


def calls_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the layers that attend in one operation."""
    calls: list[int] = []
    own = layers.grouped_attention
    monkeypatch.setattr(layers, "grouped_attention", lambda *given: calls.append(1) or own(*given))
    return calls


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_in_half_precision_are_as_close_to_exact_ones_as_before(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(monkeypatch)
    loss, exact, _ = packed_gradients(family, False, False, torch.float64)
    off = []
    for lean in (False, True):
        found, grads, model = packed_gradients(family, lean, True)
        assert len(calls) == 2 * lean and float(found) == pytest.approx(float(loss), rel=2e-3)
        off.append(sum(float((grads[name].double() - exact[name]).square().sum()) for name in exact) ** 0.5)
    assert {type(module) for module in model.modules()} & set(layers.ATTENTIONS.values())
    assert 0 < off[1] < 1.2 * off[0]


@pytest.mark.parametrize(
    ("family", "half", "values"),
    [
        ("llama", False, {}),
        ("llama", True, {"attention_dropout": 0.5}),
        ("mistral", True, {"sliding_window": 5}),
        ("qwen2", True, {"sliding_window": 5, "use_sliding_window": True, "max_window_layers": 0}),
    ],
)
def test_what_one_operation_cannot_compute_goes_the_familys_way(
    family: str, half: bool, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(monkeypatch)
    found = []
    for lean in (False, True):
        torch.manual_seed(0)
        found.append(packed_gradients(family, lean, half, **values))
    (loss, grads, _), (own_loss, own, _) = found
    assert not calls
    torch.testing.assert_close(own_loss, loss, rtol=1e-2 if half else 1e-5, atol=0)
    for name, grad in grads.items():
        assert (own[name] - grad).norm() <= (0.1 if half else 1e-4) * grad.norm(), name


def test_lean_networks_can_be_copied_and_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of(monkeypatch)
    _, _, model = packed_gradients("llama", True, True)
    calls.clear()
    copied = pickle.loads(pickle.dumps(model)).eval()
    prompt = torch.tensor([[1, 2, 3]])
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        told = copied.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    assert told.shape[1] > 3 and not calls
