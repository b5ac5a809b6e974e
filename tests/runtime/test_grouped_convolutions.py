"""Convolutions that a processor gets wrong in bfloat16 are computed in float32."""

import copy

import pytest
import torch
from torch import nn
from torchaudio.models.wav2vec2.components import ConvolutionalPositionalEmbedding

from spiritlm_pl.runtime import grouped_convolutions
from spiritlm_pl.runtime.grouped_convolutions import InFloat32, avoid_wrong_convolutions, right_in_bfloat16
from spiritlm_pl.runtime.inference import fold_weight_norm
from spiritlm_pl.tokenizers.hubert import HubertConfig, build_encoder


def positions() -> nn.Sequential:
    return nn.Sequential(ConvolutionalPositionalEmbedding(32, 128, 16)).eval()


def half(network: nn.Module, frames: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found: torch.Tensor = network(frames)
    assert found.dtype == frames.dtype
    return found.float()


def test_positions_in_bfloat16_are_right_on_this_processor() -> None:
    network, frames = positions(), torch.randn(2, 50, 32)
    wanted = network(frames).detach()
    avoid_wrong_convolutions(network)
    torch.testing.assert_close(half(network, frames.bfloat16()), wanted, rtol=0.05, atol=0.05)
    tiny = HubertConfig(embed_dim=32, num_layers=1, num_heads=2, feed_forward_dim=32, pos_conv_kernel=64)
    encoder, waveform = build_encoder(tiny).eval(), torch.randn(1, 8_000)
    with torch.no_grad():
        wanted = encoder(waveform)[0]
        with torch.autocast("cpu", torch.bfloat16):
            found = encoder(waveform)[0].float()
    assert (found - wanted).norm() < 0.1 * wanted.norm()


def test_what_is_wrong_is_computed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    network, frames = positions(), torch.randn(2, 50, 32)
    plain = copy.deepcopy(network)
    monkeypatch.setattr(grouped_convolutions, "right_in_bfloat16", lambda *sizes: False)
    avoid_wrong_convolutions(network)
    avoid_wrong_convolutions(network)
    kind = type(network[0])
    assert isinstance(network[0], InFloat32) and kind.__mro__[2] is ConvolutionalPositionalEmbedding
    assert network.state_dict().keys() == plain.state_dict().keys()
    wanted = plain(frames.bfloat16().float()).detach()
    assert torch.equal(half(network, frames.bfloat16()), wanted.bfloat16().float())
    assert torch.equal(network(frames), plain(frames))  # without autocast nothing changes
    copied = copy.deepcopy(network)
    fold_weight_norm(copied)
    assert torch.equal(half(copied, frames.bfloat16()), wanted.bfloat16().float())


def test_other_modules_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Conv1d(4, 4, 16), nn.Linear(4, 4), nn.Sequential(nn.Conv2d(4, 4, 16, groups=2)))
    monkeypatch.setattr(grouped_convolutions, "right_in_bfloat16", lambda *sizes: False)
    avoid_wrong_convolutions(network)
    assert not any(isinstance(module, InFloat32) for module in network.modules())
    assert right_in_bfloat16(48, 48, 128) and right_in_bfloat16(4, 4, 31, stride=2, dilation=3)
