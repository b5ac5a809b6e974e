"""The pitch VQ-VAE beside the release's, its shapes, and a codebook that is filled, followed, restarted, resumed."""

import copy
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing
from torch.nn.functional import conv1d, conv_transpose1d

from spiritlm_pl.tokenizers.ema_codebook import EMACodebook
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAE, PitchVQVAEConfig


@pytest.mark.parametrize("reverse", [False, True])
def test_the_decoder_is_that_of_the_release(reverse: bool) -> None:
    """Written down once more, with reversed dilations and scaled residuals as well."""
    config = PitchVQVAEConfig(dim=12, width=8, depth=3, reverse_decoder_dilation=reverse, residual_scale=reverse)
    network = PitchVQVAE(config).double()
    weights = {key: value.detach() for key, value in network.decoder.named_parameters()}
    latents = torch.randn(2, 5, 12, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    x = conv1d(latents.transpose(1, 2), weights["0.weight"], weights["0.bias"], padding=1)
    for stack in (1, 3, 5, 7):
        for place, dilation in enumerate((9, 3, 1) if reverse else (1, 3, 9)):
            block = f"{stack}.{place}."
            inner = conv1d(
                x.relu(), weights[block + "dilated.weight"], weights[block + "dilated.bias"], 1, dilation, dilation
            )
            inner = conv1d(inner.relu(), weights[block + "pointwise.weight"], weights[block + "pointwise.bias"])
            x = x + inner * (3**-0.5 if reverse else 1)
        x = conv_transpose1d(x, weights[f"{stack + 1}.weight"], weights[f"{stack + 1}.bias"], stride=2, padding=1)
    expected = conv1d(x, weights["9.weight"], weights["9.bias"], padding=1)
    torch.testing.assert_close(network.decode_latents(latents), expected)


def test_f0_in_other_units_inside() -> None:
    torch.manual_seed(0)
    hertz, scaled = (PitchVQVAE(PitchVQVAEConfig(num_codes=8, f0_scale=scale)) for scale in (1.0, 20.0))
    hertz.codebook.update(torch.randn(50, 128))
    scaled.load_state_dict(hertz.state_dict())
    units = torch.tensor([[20.0], [1.0]])
    contours = torch.randn(2, 2, 64) * units
    torch.testing.assert_close(scaled.latents(contours), hertz.latents(contours / units))
    codes = torch.randint(8, (2, 4))
    torch.testing.assert_close(scaled.decode(codes), hertz.decode(codes) * units)
    with pytest.raises(ValueError, match="f0_scale must be above 0 and finite, but is 0.0 instead"):
        PitchVQVAEConfig(f0_scale=0.0)


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


def test_vectors_that_are_not_finite_are_left_out() -> None:
    clean, book = EMACodebook(4, 3), EMACodebook(4, 3)
    assert book.update(torch.full((10, 3), torch.nan)) == {"used": 0.0, "entropy": 0.0, "restarts": 0.0}
    assert not book.codes.any()  # still to be placed
    for step in range(5):
        vectors = clouds(step, 30)
        clean.update(vectors)
        book.update(torch.cat([vectors, torch.full((1, 3), torch.nan), torch.full((1, 3), torch.inf)]))
    assert torch.equal(book.codes, clean.codes) and torch.equal(book.counts, clean.counts)


def shared(rank: int, world_size: int) -> dict[str, torch.Tensor]:
    """A codebook that follows this rank's share of batches, with codes to restart."""
    book = EMACodebook(16, 3, decay=0.8)
    for step in range(20):
        book.update(clouds(step, 30).chunk(world_size)[rank])
    return book.state_dict()


def _rank(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(shared(rank, 2), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.usefixtures("warm_processes")
def test_two_ranks_do_what_one_process_does(tmp_path: Path) -> None:
    multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, value in shared(0, 1).items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, msg=name)


def test_fewer_vectors_than_codes() -> None:
    book = EMACodebook(8, 3)
    book.update(torch.randn(3, 3))
    assert book.codes.isfinite().all() and len(book.codes.unique(dim=0)) <= 3
