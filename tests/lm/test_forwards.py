"""A computation as one forward of a network."""

import pytest
from torch import Tensor, nn, ones

from spiritlm_pl.lm.forwards import as_forward


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_the_network_has_its_own_forward_within_and_after(replaced: bool, fails: bool) -> None:
    network, calls = nn.Linear(2, 2), []
    if replaced:  # as other libraries do
        network.forward = lambda inputs: 2 * nn.functional.linear(inputs, network.weight, network.bias)
    expected = network(ones(1, 2))
    network.register_forward_pre_hook(lambda *_: calls.append("before"))

    def compute() -> Tensor:
        if fails:
            raise ValueError("no such row")
        return network.forward(ones(1, 2))

    if fails:
        with pytest.raises(ValueError, match="no such row"):
            as_forward(network, compute)
    else:
        assert as_forward(network, compute).equal(expected)
    assert calls == ["before"] and network.forward(ones(1, 2)).equal(expected)
