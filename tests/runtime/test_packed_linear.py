"""Packed weights give what plain layers give."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from spiritlm_pl.runtime.packed_linear import PackedLinear, PackedPointwise, has_products, pack_pointwise


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
