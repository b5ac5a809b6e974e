"""The other computation of convolutions gives the same, with the same weights."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations

from spiritlm_pl.runtime import inference
from spiritlm_pl.runtime.inference import ChannelsLastConv1d, fold_weight_norm, use_channels_last

CONVOLUTIONS = [
    nn.Conv1d(6, 8, 5),
    nn.Conv1d(6, 8, 3, stride=2, padding=4, dilation=2, groups=2, bias=False),
    nn.Conv1d(6, 6, 7, padding=3, groups=6),
    nn.Conv1d(6, 8, 3, padding="same"),
    nn.Conv1d(6, 8, 3, padding=1, padding_mode="reflect"),
    nn.ConvTranspose1d(6, 8, 4, stride=2, padding=1),
    nn.ConvTranspose1d(6, 8, 5, stride=3, padding=1, output_padding=2, dilation=2, groups=2),
]


@pytest.mark.parametrize("convolution", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("shape", [(2, 6, 31), (1, 6, 12)])
def test_gives_the_same(convolution: Any, shape: tuple[int, ...]) -> None:
    network = nn.Sequential(copy.deepcopy(convolution), nn.LeakyReLU())
    inputs = torch.randn(shape)
    with torch.no_grad():
        wanted = network(inputs)
        weights = {name: value.clone() for name, value in network.state_dict().items()}
        use_channels_last(network)
        found = network(inputs)
    assert type(network[0]) is not type(convolution)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(network.state_dict(), weights)


def test_leaves_normalised_weights_alone() -> None:
    network = nn.Sequential(weight_norm(nn.Conv1d(2, 3, 3)), nn.Sequential(nn.Conv1d(3, 2, 3)), nn.Linear(2, 2))
    use_channels_last(network)
    inner: Any = network[1]
    assert not isinstance(network[0], ChannelsLastConv1d) and isinstance(inner[0], ChannelsLastConv1d)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_folds_weight_norm(mode: Any) -> None:
    network = weight_norm(nn.Conv1d(2, 3, 3))
    inputs = torch.randn(1, 2, 9)
    wanted = network(inputs)
    with mode():
        fold_weight_norm(network)
    assert dict(network.named_parameters()).keys() == {"weight", "bias"}
    assert not network.weight.requires_grad and not network.weight.is_inference()
    torch.testing.assert_close(network(inputs), wanted)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_folds_on_the_cpu_and_moves_the_weights_back(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's GPU has no float64; "meta" stands for it here, whose values are made up when they leave it."""
    double, seen = nn.Module.double, []

    def removed(module: nn.Module, name: str) -> nn.Module:
        seen.append({(weight.device.type, weight.dtype) for weight in module.parameters()})
        return remove_parametrizations(module, name)

    def doubled(module: nn.Module) -> nn.Module:
        assert all(weight.device.type == "cpu" for weight in module.parameters()), "there is no float64"
        return double(module)

    monkeypatch.setattr(inference, "remove_parametrizations", removed)
    monkeypatch.setattr(nn.Module, "double", doubled)
    monkeypatch.setattr(nn.Module, "cpu", lambda module: module.to_empty(device="cpu"))
    network = weight_norm(nn.Conv1d(2, 3, 3)).to("meta")
    with mode():
        fold_weight_norm(network)
    assert seen == [{("cpu", torch.float64)}]
    found = {name: (weight.device.type, weight.dtype) for name, weight in network.named_parameters()}
    assert found == {"weight": ("meta", torch.float32), "bias": ("meta", torch.float32)}
    assert not network.weight.requires_grad


@pytest.mark.parametrize("folded", ["copy", "original"])
def test_folding_a_copy_leaves_the_other_as_it_is(folded):
    original = nn.Sequential(weight_norm(nn.Conv1d(4, 4, 3)))
    copied = copy.deepcopy(original)
    one, other = (copied, original) if folded == "copy" else (original, copied)
    waveforms = torch.randn(1, 4, 10)
    expected = other(waveforms)
    fold_weight_norm(one)
    assert torch.equal(other(waveforms), expected) and list(other.state_dict()) != list(one.state_dict())
    torch.testing.assert_close(one(waveforms), expected)
    other(waveforms).sum().backward()
    fold_weight_norm(other)
    assert torch.equal(other(waveforms), one(waveforms))
