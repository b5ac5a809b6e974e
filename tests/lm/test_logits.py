"""The step from output layer to logits is measured right where ZeRO-3 changes the types of new tensors."""

from collections.abc import Callable

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from spiritlm_pl.lm.logits import Logits, own_logits


def test_logits_are_measured_while_new_tensors_are_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Gemma2Config(
        vocab_size=32,
        hidden_size=300,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
    )
    network = Gemma2ForCausalLM(config).to(torch.bfloat16)

    def halved(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def made(*args: object, **settings: object) -> torch.Tensor:
            tensor = make(*args, **settings)
            return tensor.bfloat16() if tensor.is_floating_point() else tensor

        return made

    for name in ("tensor", "arange"):  # as DeepSpeed's sharding context does
        monkeypatch.setattr(torch, name, halved(getattr(torch, name)))
    assert own_logits(network) == Logits(1.0, 30.0)
