"""oneDNN's linear layers give what torch's give, and so do their gradients."""

import copy

import pytest
import torch
from torch import nn

from spiritlm_pl.runtime import onednn_linear
from spiritlm_pl.runtime.onednn_linear import OneDNNLinear, onednn_products, use_onednn
from spiritlm_pl.runtime.packed_linear import has_products

needs_products = pytest.mark.skipif(not has_products(torch.float32), reason="torch was built without these products")


@needs_products
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 24), (3, 5, 24), (24,), (1, 0, 24)])
def test_products_and_gradients_are_torchs(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(24, 40, bias=bias)
    other = copy.deepcopy(plain)
    use_onednn(other)
    assert type(other) is OneDNNLinear and other.state_dict().keys() == plain.state_dict().keys()
    rows = torch.randn(shape)
    found = []
    for layer in (plain, other):
        given = rows.clone().requires_grad_()
        result = layer(given)
        result.square().sum().backward()
        found.append([result, given.grad, *(parameter.grad for parameter in layer.parameters())])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


@needs_products
def test_frozen_layers_and_inputs_get_no_gradient() -> None:
    layer = nn.Linear(8, 8)
    use_onednn(layer)
    layer.weight.requires_grad_(False)
    given = torch.randn(4, 8, requires_grad=True)
    layer(given).sum().backward()
    assert layer.weight.grad is None and layer.bias.grad is not None and given.grad is not None
    layer.weight.requires_grad_()
    layer(torch.randn(4, 8)).sum().backward()
    assert layer.weight.grad is not None


@needs_products
def test_gradients_of_gradients_are_refused() -> None:
    layer = nn.Linear(8, 8)
    use_onednn(layer)
    given = torch.randn(2, 8, requires_grad=True)
    with pytest.raises(RuntimeError, match="gradients of gradients"):
        torch.autograd.grad(layer(given).sum(), given, create_graph=True)


@needs_products
def test_other_types_are_left_to_torch() -> None:
    layer = nn.Linear(8, 8)
    use_onednn(layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 8)).dtype == torch.bfloat16
    assert layer.double()(torch.randn(2, 8, dtype=torch.float64)).dtype == torch.float64


def test_subclasses_keep_their_own_way() -> None:
    class Other(nn.Linear):
        pass

    network = nn.Sequential(Other(2, 2))
    use_onednn(network)
    assert type(network[0]) is Other


@needs_products
def test_a_network_is_as_it_was_after_the_context_and_after_an_error_in_it() -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
    rows = torch.randn(3, 8)
    expected = network(rows)
    with pytest.raises(KeyError), onednn_products(network):
        assert [type(layer) for layer in network] == [OneDNNLinear, nn.Tanh, OneDNNLinear]
        torch.testing.assert_close(network(rows), expected)
        with onednn_products(network):  # another thread may score beside
            pass
        assert type(network[0]) is OneDNNLinear
        raise KeyError
    assert [type(layer) for layer in network] == [nn.Linear, nn.Tanh, nn.Linear]


@needs_products
def test_weights_of_other_kinds_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Divided(torch.Tensor):
        """As weights of tensor parallelism or of quantization are, which oneDNN does not know."""

    layer = nn.Linear(8, 8, bias=False)
    weight = layer.weight.detach().as_subclass(Divided)
    del layer.weight
    layer.weight = weight
    rows = torch.randn(3, 8)
    expected = nn.functional.linear(rows, weight)
    monkeypatch.setattr(onednn_linear, "_product", None)
    with onednn_products(layer):
        assert torch.equal(layer(rows), expected)
