"""Models whose positions are rotated otherwise in long sequences score and answer as their plain `forward` does."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM
from transformers.generation import GenerationMixin

from spiritlm_pl.generation.prefixes import shared_cache
from spiritlm_pl.generation.prompt import Prompt
from spiritlm_pl.generation.sampling import continue_tokens, stream_tokens
from spiritlm_pl.generation.settings import GenerationSettings
from spiritlm_pl.lm import likelihood, probe
from spiritlm_pl.lm.likelihood import choice_log_likelihoods, log_likelihoods
from spiritlm_pl.lm.positions import same_rotary_factors
from spiritlm_pl.vocabulary import Modality, Vocabulary

SWITCH = 32  # tokens up to which the factors are the short ones
VOCABULARY = Vocabulary.spirit_lm(num_text=60, num_units=21, num_pitches=0, num_styles=0, multiple_of=8)
ROTARY = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 4,
    "long_factor": [1.0, 4.0, 8.0, 16.0],
    "factor": 8.0,
    "original_max_position_embeddings": SWITCH,
    "rope_theta": 10_000.0,
}
SIZES = {
    "vocab_size": VOCABULARY.num_rows,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rope_parameters": ROTARY,
    "pad_token_id": 0,
}
PHI = {"original_max_position_embeddings": SWITCH}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**SIZES, **PHI)),
}


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(4)
    network = FAMILIES[request.param]().eval()
    for weights in network.parameters():
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=0.3)
    return network


def texts(*lengths: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 60, (length,), generator=generator).tolist() for length in lengths]


@torch.no_grad()
def plain_answer(model: Any, prompt: list[int], number: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(number):
        tokens.append(int(probe.plain_logits(model, tokens)[-1, :60].argmax()))
    return tokens[len(prompt) :]


@torch.no_grad()
def plain_score(model: Any, tokens: list[int], scored: int) -> float:
    logs = probe.plain_logits(model, tokens[:-1]).log_softmax(-1)
    return float(logs.gather(1, torch.tensor(tokens[1:])[:, None])[-scored:].sum())


LENGTHS = {  # of a beginning that all prompts share, and of what follows it
    "shared below, asked above the switch": (28, (12, 20)),
    "one far above": (0, (10, 40)),
    "all within at first": (20, (2, 7, 10, 12)),
    "up to the last place below": (0, (20, 25)),
    "all above": (40, (3, 9)),
}


def given(kind: str) -> list[list[int]]:
    shared, ends = LENGTHS[kind]
    beginning, *rest = texts(shared, *ends)
    return [beginning + end for end in rest]


@pytest.mark.parametrize("kind", LENGTHS)
@torch.no_grad()
def test_an_answer_does_not_depend_on_neighbours_and_caches(model: Any, kind: str) -> None:
    prompts, settings = given(kind), GenerationSettings(greedy=True, max_new_tokens=8)
    expected = [plain_answer(model, prompt, 8) for prompt in prompts]
    for share in (False, True):
        limits, seeds = [8] * len(prompts), [0] * len(prompts)
        made = continue_tokens(
            model, prompts, VOCABULARY, "text", settings, limits=limits, seeds=seeds, share_beginning=share
        )
        assert made == expected
    streamed = [
        list(stream_tokens(model, Prompt(prompt, Modality.TEXT, None), VOCABULARY, "text", settings))
        for prompt in prompts
    ]
    assert streamed == expected


@pytest.mark.parametrize("batch_tokens", [8192, 40])
def test_scores_do_not_depend_on_neighbours_and_shared_contexts(
    model: Any, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "SHORTEST_SHARED", 0)
    sequences = [(tokens, min(9, len(tokens) - 1)) for tokens in texts(4, 20, 31, 32, 33, 33, 34, 35, 60)]
    expected = torch.tensor([plain_score(model, tokens, scored) for tokens, scored in sequences])
    torch.testing.assert_close(log_likelihoods(model, sequences, batch_tokens).float(), expected, rtol=1e-4, atol=1e-4)

    for lengths in ((5, 28, 40), (30, 5), (10, 12)):  # of contexts; the second ones reach beyond with padding alone
        items = [
            (context, texts(*ends, seed=len(context)), [0] * len(ends))
            for context, ends in zip(texts(*lengths), ((2, 20), (2, 3), (4, 6)), strict=False)
        ]
        found = torch.cat(choice_log_likelihoods(model, items, batch_tokens))
        plain = [plain_score(model, context + end, len(end)) for context, ends, _ in items for end in ends]
        torch.testing.assert_close(found.float(), torch.tensor(plain), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_short_prompts_still_share_and_are_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    network = FAMILIES["llama"]().eval()
    prompts = [[*texts(18)[0], *end] for end in texts(2, 5)]
    assert shared_cache(network, prompts) is not None
    rows: list[int] = []
    generate = GenerationMixin.generate

    def counted(self: Any, tokens: Any, **others: Any) -> Any:
        rows.append(len(tokens))
        assert others["generation_config"].use_cache
        return generate(self, tokens, **others)

    settings = GenerationSettings(greedy=True)
    continue_tokens(network, prompts, VOCABULARY, "text", settings, limits=[9, 9], seeds=[0, 0])  # with trials
    monkeypatch.setattr(GenerationMixin, "generate", counted)
    monkeypatch.setattr("spiritlm_pl.generation.network_decoding.packed_model", lambda model: None)
    continue_tokens(network, prompts, VOCABULARY, "text", settings, limits=[9, 9], seeds=[0, 0])
    assert rows == [2]


LONG = {"rope_type": "longrope", "original_max_position_embeddings": 32}
CONFIGS = {
    "plain": ({"rope_parameters": {"rope_type": "default"}}, True, True, True),
    "yarn": ({"rope_parameters": {"rope_type": "yarn", "original_max_position_embeddings": 32}}, True, True, True),
    "longrope": ({"rope_parameters": LONG}, True, False, True),
    "older name": ({"rope_scaling": {"type": "su"}, "original_max_position_embeddings": 32}, True, False, True),
    "one type of layer": ({"rope_parameters": {"full": LONG, "sliding": {"rope_type": "default"}}}, True, False, True),
    "dynamic": ({"rope_parameters": {"rope_type": "dynamic"}, "max_position_embeddings": 32}, True, False, False),
    "learned": ({}, True, True, True),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_which_lengths_are_rotated_alike(name: str) -> None:
    values, below, across, above = CONFIGS[name]
    config: Any = SimpleNamespace(**{"max_position_embeddings": 256, **values})
    config.get_text_config = lambda: config
    assert same_rotary_factors(config, 1, 32) is below
    assert same_rotary_factors(config, 32, 33) is across
    assert same_rotary_factors(config, 33, 40) is above
    assert same_rotary_factors(config, 40, 40)
