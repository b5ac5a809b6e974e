"""Power spectra and their gradients are those of torch."""

import pytest
import torch
from torch import Tensor

from spiritlm_pl.tokenizers.spectra import centred_powers, powers


@pytest.mark.parametrize("size", [16, 15])
def test_gradients_are_those_of_finite_differences(size: int) -> None:
    torch.manual_seed(0)
    waveforms = torch.randn(2, 40, dtype=torch.float64, requires_grad=True)
    window = torch.hann_window(size, dtype=torch.float64) + 0.1
    assert torch.autograd.gradcheck(lambda x: powers(x, window, 5), waveforms)


def test_powers_and_their_gradients_are_those_of_stft() -> None:
    torch.manual_seed(0)
    waveforms = torch.randn(3, 4000, requires_grad=True)
    window = torch.hann_window(512)

    def by_stft(x: Tensor) -> Tensor:
        spectrum = torch.stft(x, 512, 128, window=window, return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square()).transpose(1, 2)

    ours, theirs = centred_powers(waveforms, window, 128), by_stft(waveforms)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    weights = torch.randn_like(ours)
    (gradient,) = torch.autograd.grad((ours * weights).sum(), waveforms)
    (expected,) = torch.autograd.grad((theirs * weights).sum(), waveforms)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-2)


def test_nothing_is_kept_where_no_gradient_is_wanted() -> None:
    assert not powers(torch.randn(1, 64), torch.ones(16), 16).requires_grad
    with torch.no_grad():
        assert not powers(torch.randn(1, 64, requires_grad=True), torch.ones(16), 16).requires_grad


def test_gradients_of_gradients_are_refused() -> None:
    waveforms = torch.randn(1, 64, requires_grad=True)
    with pytest.raises(RuntimeError, match="gradients of gradients"):
        torch.autograd.grad(powers(waveforms, torch.ones(16), 16).sum(), waveforms, create_graph=True)
