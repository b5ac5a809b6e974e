"""Packed weights give what plain layers give."""

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from spiritlm_pl.runtime.inference import use_channels_last
from spiritlm_pl.runtime.packed_linear import PackedCopies, PackedLinear, PackedPointwise, has_products, pack_pointwise

AROUND = [torch.autocast("cpu", torch.bfloat16), torch.device("meta"), torch.inference_mode()]


@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_the_layers(bias: bool) -> None:
    first, second = nn.Linear(6, 4, bias=bias), nn.Linear(6, 3)
    rows, residual = torch.randn(5, 6), torch.randn(5, 7)
    packed = PackedLinear.of(first, second)
    with torch.no_grad():
        wanted = torch.cat([first(rows), second(rows)], 1)
        torch.testing.assert_close(packed(rows), wanted)
        torch.testing.assert_close(packed(rows, residual), wanted + residual)
        torch.testing.assert_close(packed(rows, gelu=True), functional.gelu(wanted))
        half = PackedLinear.of(first, second, dtype=torch.bfloat16)(rows.bfloat16())
    torch.testing.assert_close(half.float(), wanted, rtol=0.05, atol=0.05)


def test_products_that_are_wrong_or_missing_show(monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_products(torch.float32)
    right = PackedLinear.__call__
    monkeypatch.setattr(PackedLinear, "__call__", lambda self, *given, **named: right(self, *given, **named) + 0.1)
    assert not has_products(torch.float32) and not has_products(torch.bfloat16)

    def missing(*given: object, **named: object) -> None:
        raise RuntimeError("not on this processor")

    monkeypatch.setattr(PackedLinear, "__call__", missing)
    assert not has_products(torch.float32)


@pytest.mark.parametrize("around", AROUND)
def test_products_are_found_whatever_is_set_around(around: Any) -> None:
    found = has_products(torch.float32)
    with around:
        assert has_products(torch.float32) == found


@pytest.mark.parametrize("shape", [(1, 6, 9), (3, 6, 4)])
def test_convolutions_of_one_tap_give_the_same(shape: tuple[int, ...]) -> None:
    network = nn.Sequential(nn.Conv1d(6, 8, 1), nn.Conv1d(8, 8, 1, groups=2), nn.Conv1d(8, 8, 3), nn.Conv1d(8, 5, 1))
    names, inputs = list(network.state_dict()), torch.randn(shape)
    wanted = network(inputs)
    pack_pointwise(network)
    assert [isinstance(layer, PackedPointwise) for layer in network] == [True, False, False, True]
    with torch.no_grad():
        torch.testing.assert_close(network(inputs), wanted)
    found = network(inputs)  # with gradients, by the layers themselves
    torch.testing.assert_close(found, wanted)
    found.sum().backward()
    assert network[0].weight.grad is not None and list(network.state_dict()) == names


def change_in_place(network: nn.Module) -> None:
    for weight in network.parameters():
        weight.requires_grad_(False).add_(1)


def load_others(network: nn.Module) -> None:
    network.load_state_dict({name: torch.randn_like(value) for name, value in network.state_dict().items()})


def replace_weight(network: Any) -> None:
    network[0].weight = nn.Parameter(torch.randn(8, 6, 1))


CHANGES: list[Any] = [
    change_in_place,
    load_others,
    replace_weight,
    lambda network: network.double(),
    lambda network: network.bfloat16(),
    lambda network: network.bfloat16().float(),  # the memory of the first weights may be given to the last
    lambda network: None,
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_weights_that_change_are_packed_anew(change: Any, mode: Any) -> None:
    network, plain = (nn.Sequential(nn.Conv1d(6, 8, 1), nn.ReLU(), nn.Conv1d(8, 5, 1)) for _ in range(2))
    use_channels_last(network)
    pack_pointwise(network)
    inputs = torch.randn(2, 6, 9)
    with mode():
        network(inputs)
        change(network)
        dtype = next(network.parameters()).dtype
        plain.to(dtype).load_state_dict(network.state_dict())
        torch.testing.assert_close(network(inputs.to(dtype)), plain(inputs.to(dtype)))


def test_copies_compute_with_their_own_weights() -> None:
    network, inputs = nn.Sequential(nn.Conv1d(6, 8, 1)), torch.randn(2, 6, 9)
    pack_pointwise(network)
    with torch.no_grad():
        before = network(inputs)
        other = copy.deepcopy(network)
        change_in_place(other)
        assert torch.equal(network(inputs), before) and not torch.allclose(other(inputs), before)
    torch.testing.assert_close(network(inputs[0]).detach(), before[0])  # without a batch dimension, too
    with torch.no_grad():
        torch.testing.assert_close(network(inputs[0]), before[0])


def test_normalised_convolutions_of_one_tap_stay_as_they_are() -> None:
    network, inputs = nn.Sequential(weight_norm(nn.Conv1d(6, 8, 1))), torch.randn(2, 6, 9)
    wanted = network(inputs)
    pack_pointwise(network)
    assert network[0].weight.shape == (8, 6, 1) and torch.equal(network(inputs), wanted)


def test_nothing_is_kept_of_a_network_that_is_gone() -> None:
    copies: PackedCopies[nn.Linear] = PackedCopies()
    network = nn.Linear(2, 2)
    packed = weakref.ref(copies.of(network, lambda: nn.Linear(1, 1)))
    assert copies.of(network, lambda: nn.Linear(1, 1)) is packed()
    del network
    gc.collect()
    assert packed() is None
