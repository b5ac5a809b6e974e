"""Small networks whose answers differ from step to step, for tests of packed decoding."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from spiritlm_pl.generation import GenerationSettings
from spiritlm_pl.generation.sampling import continue_tokens
from spiritlm_pl.generation.stopping import Stops
from spiritlm_pl.vocabulary import Vocabulary

from .conftest import SIZES

VOCABULARY = Vocabulary.spirit_lm(num_text=60, num_units=20)
PROMPTS = [[5, 9, 2, 40, 33, 7, 3], [8, 1], [50, 51, 52, 53, 54]]


def network(family: str = "llama", **values: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SIZES, **values}, vocab_size=VOCABULARY.num_rows)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for name, weight in model.named_parameters():  # larger than they are drawn, so that tokens differ from step to step
        if name.endswith("bias"):
            torch.nn.init.normal_(weight)
        elif weight.ndim == 2:
            weight.mul_(4)
    return model


def answers(model: PreTrainedModel, output: Any = "any", **settings: Any) -> list[list[int]]:
    options = GenerationSettings(**{"greedy": True, **settings})
    rows: Sequence[Sequence[int]] = PROMPTS
    stops = Stops(frozenset({11}))
    return continue_tokens(
        model, rows, VOCABULARY, output, options, limits=[30, 25, 30], seeds=[1, 2, 3], eos_id=12, stops=stops
    )
