"""Random packed rows."""

from collections.abc import Callable

import pytest
import torch

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.vocabulary import Vocabulary


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
