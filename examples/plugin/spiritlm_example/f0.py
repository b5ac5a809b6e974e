"""An F0 extractor: `spiritlm extract-f0 CORPUS --extractor autocorrelation`."""

import torch
from torch import Tensor

from spiritlm_pl.f0.frames import HOP_LENGTH, SAMPLE_RATE, at_frames, one_by_one


class AutocorrelationF0:
    """F0 from the lag at which the autocorrelation of a window of 40 ms is largest."""

    WINDOW, SHORTEST, LONGEST = 640, 32, 320  # samples: lags of 500 to 50 Hz

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Find F0 in Hz and voicing (B, F) of waveforms (B, S) with lengths (B,)."""
        return at_frames(one_by_one(self.row), waveforms, lengths)

    def row(self, waveform: Tensor) -> Tensor:
        """Find the F0 (F,) in Hz of a waveform (S,); 0 for unvoiced frames."""
        padded = torch.nn.functional.pad(waveform, (0, self.WINDOW + HOP_LENGTH))
        windows = padded.unfold(0, self.WINDOW, HOP_LENGTH)[: len(waveform) // HOP_LENGTH + 1]
        spectrum = torch.fft.rfft(windows, 2 * self.WINDOW).abs().square()
        likeness = torch.fft.irfft(spectrum)[:, : self.LONGEST] / torch.fft.irfft(spectrum)[:, :1].clamp(min=1e-6)
        best, lag = likeness[:, self.SHORTEST :].max(1)
        return torch.where(best > 0.5, SAMPLE_RATE / (lag + self.SHORTEST).float(), 0.0)
