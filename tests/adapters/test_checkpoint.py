"""Checkpoints that hold the trained weights alone, beside layers whose state holds more than weights."""

from typing import Any

import torch
from torch import nn

from spiritlm_pl.adapters.checkpoint import leave_out_frozen, put_back_frozen
from spiritlm_pl.lm.folder import quantization


class Quantized(nn.Linear):
    """Adds to its state what it cannot load, as layers of bitsandbytes do."""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight.absmax"] = torch.ones(3)


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    built = nn.Sequential(Quantized(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    built[:2].requires_grad_(False)
    return built


def test_only_what_is_trained_is_saved_and_the_rest_is_that_of_the_module() -> None:
    trained, base = network(0), network(1)
    checkpoint: dict[str, Any] = {"state_dict": trained.state_dict()}
    leave_out_frozen(checkpoint, trained)
    assert checkpoint["state_dict"].keys() == {"2.weight", "2.bias"}
    before = {name: value.clone() for name, value in base.state_dict().items()}
    put_back_frozen(checkpoint, base)
    base.load_state_dict(checkpoint["state_dict"], strict=True)
    for name, value in base.state_dict().items():
        expected = trained.state_dict()[name] if name.startswith("2.") else before[name]
        assert torch.equal(value, expected), name


def test_shards_that_lie_elsewhere_stay_as_they_are() -> None:
    checkpoint: dict[str, Any] = {"epoch": 1}
    put_back_frozen(checkpoint, network(0))
    assert checkpoint == {"epoch": 1}


def test_four_bits_are_those_of_qlora(monkeypatch) -> None:
    monkeypatch.setattr("spiritlm_pl.lm.folder.find_spec", lambda name: True)
    assert quantization(4).bnb_4bit_quant_type == "nf4"
