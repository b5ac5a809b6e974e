"""Power spectra of waveforms whose gradient takes one inverse transform of real numbers.

The gradient of `torch.fft.rfft` is a transform of complex numbers, twice as long as it need be, among copies: on a CPU
the way back through the losses of a small vocoder took as long as that through the vocoder.

Shapes: B batch, S samples, F frames, N samples of a frame, K = N / 2 + 1 frequency bins.
"""

from typing import Any

import torch
from torch import Tensor


def powers(waveforms: Tensor, window: Tensor, hop: int) -> Tensor:
    """Compute the power (B, F, K) in the frequency bins of each frame of waveforms (B, S), float32 or float64.

    Args:
        waveforms: waveforms (B, S) of at least N samples; the first frame begins with the first sample.
        window: window (N,), which needs no gradient.
        hop: number of samples between frames.
    """
    found: Tensor = _Powers.apply(waveforms.unfold(1, len(window), hop), window)
    return found


def centred_powers(waveforms: Tensor, window: Tensor, hop: int) -> Tensor:
    """Compute powers as `powers` does, of frames centred at every hop; the ends are mirrored, as by `torch.stft`."""
    half = len(window) // 2
    return powers(torch.nn.functional.pad(waveforms, (half, half), mode="reflect"), window, hop)


class _Powers(torch.autograd.Function):
    """Squared absolute values of the Fourier transform of windowed frames (B, F, N)."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, window: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(frames * window)
        ctx.save_for_backward(spectrum, window)
        return spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        spectrum, window = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph: the next gradient would lack this part without a word
            raise RuntimeError("gradients of gradients are not defined here: leave create_graph at False")
        # A frame is real, so irfft counts each bin twice, as itself and as its mirror image, but for those without one.
        # This is the factor 2 of a square's gradient, which the others lack.
        weights = gradient.clone()
        weights[..., 0] *= 2
        if len(window) % 2 == 0:
            weights[..., -1] *= 2
        weighted = torch.view_as_complex(torch.view_as_real(spectrum) * weights[..., None])
        return torch.fft.irfft(weighted, n=len(window), norm="forward") * window, None
