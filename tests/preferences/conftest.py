"""Random pairs."""

import numpy as np
import pytest

from spiritlm_pl.preferences.pairs import Pair, Pairs
from spiritlm_pl.vocabulary import Vocabulary


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
