"""The shared beginning of prompts is computed once, with the same answers as without, or not at all."""

from typing import Any

import pytest
import torch
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from spiritlm_pl.generation import prefixes
from spiritlm_pl.generation.prefixes import SHORTEST, shared_cache, shared_length
from spiritlm_pl.generation.sampling import continue_tokens
from spiritlm_pl.generation.settings import GenerationSettings
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=40, num_units=21, num_pitches=0, num_styles=0, multiple_of=8)
SIZES = {"vocab_size": VOCABULARY.num_rows, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
MLP = {"intermediate_size": 48, "max_position_embeddings": 256}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **MLP, num_key_value_heads=1)),
    "neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, **MLP)),
    "opt": lambda: OPTForCausalLM(OPTConfig(**SIZES, ffn_dim=48, max_position_embeddings=256, word_embed_proj_dim=32)),
    "windows": lambda: MistralForCausalLM(MistralConfig(**SIZES, **MLP, num_key_value_heads=1, sliding_window=8)),
}


def network(family: str) -> Any:
    torch.manual_seed(4)
    found = FAMILIES[family]().eval()
    for weights in found.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return found


def prompts(shared: int, ends: tuple[int, ...]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(shared)
    beginning, *rest = (torch.randint(3, 40, (size,), generator=generator).tolist() for size in (shared, *ends))
    return [[*beginning, *end] for end in rest]


@pytest.mark.parametrize(("ends", "greedy"), [((3, 9, 5), False), ((1, 40), True), ((1, 1, 1), False)])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_the_same(
    family: str, ends: tuple[int, ...], greedy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, given = network(family), prompts(30, ends)
    computed: list[int] = []
    forward = type(model).forward

    def counted(self: Any, input_ids: Any = None, **others: Any) -> Any:
        computed.append(input_ids.numel())
        return forward(self, input_ids=input_ids, **others)

    monkeypatch.setattr(type(model), "forward", counted)
    settings = GenerationSettings(greedy=greedy, batch_size=8)

    def answered(share: bool) -> list[list[int]]:
        limits, seeds = [12] * len(ends), [5 + place for place in range(len(ends))]
        return continue_tokens(
            model, given, VOCABULARY, "any", settings, limits=limits, seeds=seeds, share_beginning=share
        )

    answered(True)  # trials of the family come first
    answers = []
    for share in (False, True):
        computed.clear()
        answers.append(answered(share))
        rows = len(ends) * (30 + max(ends))
        if share and family != "windows":
            beginning = shared_length(given)
            assert computed[:2] == [beginning, rows - len(ends) * beginning]
        else:
            assert computed[0] == rows
    assert answers[0] == answers[1]


def test_what_is_short_or_not_shared_is_not_cached() -> None:
    model = network("llama")
    assert shared_length([[1, 2, 3], [1, 2, 3]]) == 2 and shared_length([[1, 2], [2, 2]]) == 0
    assert shared_cache(model, prompts(SHORTEST - 1, (4, 4))) is None
    assert shared_cache(model, prompts(30, (4,))) is None
    found = shared_cache(model, prompts(SHORTEST, (4, 2)))
    assert found is not None and found.get_seq_length() == SHORTEST


def test_a_family_whose_trial_fails_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "_sharing_difference", lambda model: 1.0)
    monkeypatch.setattr("spiritlm_pl.lm.probe._outcomes", {})
    assert shared_cache(network("llama"), prompts(30, (4, 2))) is None
