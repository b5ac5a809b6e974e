"""A tiny Llama and random packed rows."""

from collections.abc import Callable

import pytest
import torch

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm.build import LanguageModelConfig
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


@pytest.fixture
def make_batch(vocabulary: Vocabulary) -> Callable[..., TokenBatch]:
    def make(lengths: tuple[tuple[int, ...], ...] = ((5, 11, 8), (20, 4)), seed: int = 0) -> TokenBatch:
        generator = torch.Generator().manual_seed(seed)
        flat = torch.tensor([length for row in lengths for length in row])
        shape = (len(lengths), sum(lengths[0]))
        positions = torch.cat([torch.arange(length) for length in flat.tolist()]).view(shape)
        segments = torch.cat([torch.full((length,), i) for row in lengths for i, length in enumerate(row)])
        return TokenBatch(
            tokens=torch.randint(0, vocabulary.num_tokens, shape, generator=generator),
            position_ids=positions,
            segment_ids=segments.view(shape),
            loss_mask=torch.ones(shape).bool(),
            cu_seqlens=torch.cat((torch.zeros(1), flat.cumsum(0))).int(),
            step=0,
        )

    return make
