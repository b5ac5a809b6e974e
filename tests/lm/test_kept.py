"""Linear layers that keep less give the same results and gradients, bit by bit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spiritlm_pl.lm import kept


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the hooks of `kept` keep in place of tensors; everything is large enough for them."""
    found: list[Any] = []
    own = torch.autograd.graph.saved_tensors_hooks

    def noting(pack: Callable[[Tensor], Any], unpack: Callable[[Any], Tensor]) -> Any:
        return own(lambda part: found.append(pack(part)) or found[-1], unpack)

    monkeypatch.setattr(torch.autograd.graph, "saved_tensors_hooks", noting)
    monkeypatch.setattr(kept, "LARGE_INPUT", 1)
    monkeypatch.setattr(kept, "LARGE_WEIGHT", 1)
    return found


def results(layer: nn.Linear, given: Tensor, half: bool, make: bool) -> list[Tensor]:
    """Result and gradients of a layer after another operation."""
    layer.zero_grad()
    leaf = given.clone().requires_grad_()
    hidden = (leaf * 2).to(torch.bfloat16 if half else torch.float32)
    again = hidden.detach().clone()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        result = kept.product(layer, hidden, (lambda: again) if make else None)
    result.float().square().sum().backward()
    found = [result.detach(), leaf.grad, *(parameter.grad for parameter in layer.parameters())]
    return [part for part in found if part is not None]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", [(8, 8), (8, 12)])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("make", [False, True])
def test_values_and_gradients_do_not_change(
    sizes: tuple[int, int], half: bool, bias: bool, make: bool, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(*sizes, bias=bias)
    given = torch.randn(2, 4, 8)  # as many tokens as features
    found = results(layer, given, half, make)
    kinds = {type(part) for part in told}
    assert (kept._Input in kinds) == make and (kept._Weight in kinds) == half
    assert not half or not any(isinstance(part, Tensor) and part.shape[-1:] != (8,) for part in told)
    told.clear()
    monkeypatch.setattr(kept, "LARGE_INPUT", 10**9)
    monkeypatch.setattr(kept, "LARGE_WEIGHT", 10**9)
    plain = results(layer, given, half, make)
    assert not told and len(plain) == 3 + bias
    assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))


@pytest.mark.parametrize("make", [False, True])
def test_a_copy_of_an_input_is_not_taken_for_the_weight(
    make: bool, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 8, bias=False)
    given = torch.randn(2, 8, 4).transpose(1, 2)  # copied for the product, to as many tokens as features
    found = results(layer, given, True, make)
    assert not any(isinstance(part, kept._Weight) for part in told)
    monkeypatch.setattr(kept, "LARGE_INPUT", 10**9)
    monkeypatch.setattr(kept, "LARGE_WEIGHT", 10**9)
    plain = results(layer, given, True, make)
    assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))


def test_a_copy_of_a_weight_is_not_held_by_autocast(told: list[Any]) -> None:
    layer = nn.Linear(8, 12, bias=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kept.product(layer, torch.randn(4, 8).bfloat16())
        with torch.no_grad():
            layer.weight.zero_()
            assert not layer(torch.ones(4, 8)).any()  # autocast would still have the copy from before
    assert told


def test_a_changed_weight_is_refused(told: list[Any]) -> None:
    layer = nn.Linear(8, 12, bias=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = kept.product(layer, torch.randn(4, 8).bfloat16().requires_grad_())
    with torch.no_grad():
        layer.weight.mul_(2)
    with pytest.raises(RuntimeError, match="weights must not be changed between"):
        result.sum().backward()


def test_adapted_layers_keep_their_way(told: list[Any]) -> None:
    class Adapted(nn.Linear):
        """Linear layer of another class."""

    with torch.autocast("cpu", dtype=torch.bfloat16):
        kept.product(Adapted(8, 12), torch.randn(4, 8).bfloat16())
        kept.product(nn.Linear(8, 12).bfloat16(), torch.randn(4, 8).bfloat16())
    kept.product(nn.Linear(8, 12), torch.randn(4, 8))
    assert not told


class Sharded(nn.Parameter):
    """Weight of another class, as those of FSDP2 are."""


@pytest.mark.parametrize("by", ["ZeRO-3", "FSDP2"])
def test_layers_of_sharded_weights_keep_their_way(by: str, told: list[Any]) -> None:
    layer, hidden = nn.Linear(8, 12), torch.randn(4, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kept.product(layer, hidden)
        assert told
        told.clear()
        if by == "ZeRO-3":
            layer.weight.ds_id = 0  # type: ignore[attr-defined]
        else:
            layer.weight = Sharded(layer.weight.detach())
        kept.product(layer, hidden)
    assert not told
