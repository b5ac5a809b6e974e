"""The pitch VQ-VAE's shapes, and a codebook that is filled, followed, restarted and resumed."""

import copy

import pytest
import torch

from spiritlm_pl.speech.ema_codebook import EMACodebook
from spiritlm_pl.speech.pitch_vqvae import PitchVQVAE, PitchVQVAEConfig


@pytest.mark.parametrize(("frames", "codes"), [(0, 0), (15, 0), (16, 1), (31, 1), (397, 24), (480, 30)])
def test_codes_of_16_frames_each(frames: int, codes: int) -> None:
    torch.manual_seed(0)
    network = PitchVQVAE(PitchVQVAEConfig())
    network.codebook.update(torch.randn(100, 128))
    found = network.encode(torch.randn(2, 2, frames))
    assert found.shape == (2, codes) and network.code_rate == 12.5 and network.cardinality == 64
    if codes:
        assert network.decode(found).shape == (2, 2, 16 * codes)
        assert 0 <= int(found.min()) <= int(found.max()) < 64


def test_sizes_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="num_codes must be at least 1, but is 0 instead"):
        PitchVQVAEConfig(num_codes=0)
    with pytest.raises(ValueError, match=r"decay must be in \(0, 1\), but is 1.0 instead"):
        PitchVQVAEConfig(decay=1.0)


def clouds(seed: int, count: int = 400) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = 10.0 * torch.randn(8, 3, generator=torch.Generator().manual_seed(99))
    which = torch.randint(8, (count,), generator=generator)
    return centres[which] + 0.1 * torch.randn(count, 3, generator=generator)


def test_codes_find_the_clouds_and_all_are_used() -> None:
    book = EMACodebook(8, 3, decay=0.9)
    for step in range(200):
        found = book.update(clouds(step))
    assert found["used"] == 1.0 and found["entropy"] > 2.8
    _, nearest = book(clouds(1000))
    assert (nearest - clouds(1000)).norm(dim=-1).mean() < 1.5  # two clouds may share a code


def test_a_code_out_of_use_is_restarted() -> None:
    book = EMACodebook(4, 2, decay=0.5)
    book.update(torch.randn(50, 2))
    book.codes[3] = 1e6
    book.sums[3] = 1e6 * book.counts[3]
    restarts = sum(book.update(torch.randn(50, 2))["restarts"] for _ in range(10))
    assert restarts >= 1 and book.codes.abs().max() < 100


def test_a_resumed_codebook_goes_on_exactly() -> None:
    book = EMACodebook(8, 3, decay=0.9)
    for step in range(5):
        book.update(clouds(step))
    other = EMACodebook(8, 3, decay=0.9)
    other.load_state_dict(copy.deepcopy(book.state_dict()))
    for step in range(5, 10):
        assert book.update(clouds(step, 20)) == other.update(clouds(step, 20))
    assert torch.equal(book.codes, other.codes)


def test_fewer_vectors_than_codes() -> None:
    book = EMACodebook(8, 3)
    book.update(torch.randn(3, 3))
    assert book.codes.isfinite().all() and len(book.codes.unique(dim=0)) <= 3
