"""A tiny Llama and random pairs."""

import numpy as np
import pytest

from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.preferences.pairs import Pair, Pairs
from spiritlm_pl.vocabulary import Vocabulary

TINY = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary.spirit_lm(num_text=50, num_units=20, multiple_of=16)


@pytest.fixture
def tiny() -> LanguageModelConfig:
    return LanguageModelConfig(config=TINY)


def random_pairs(vocabulary: Vocabulary, number: int = 7, seed: int = 0) -> list[Pair]:
    rng = np.random.default_rng(seed)
    return [
        Pair(f"pair-{place}", *(rng.integers(3, vocabulary.num_tokens, rng.integers(2, 9)).tolist() for _ in range(3)))
        for place in range(number)
    ]


@pytest.fixture
def pairs(vocabulary: Vocabulary) -> Pairs:
    found = Pairs.of(random_pairs(vocabulary), np.uint16)
    reference = -np.random.default_rng(1).uniform(10, 30, (len(found), 2)).astype(np.float32)
    return Pairs(found.ids, found.tokens, found.bounds, reference)
