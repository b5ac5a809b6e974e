"""Log-mel spectrograms, used as a training loss and as a distance to report.

Shapes: B batch, S samples, M mel bands, F frames.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from spiritlm_pl.tokenizers.mel_spectrum import mel_magnitudes
from spiritlm_pl.tokenizers.spectra import centred_powers

FLOOR = 1e-5


class LogMel(nn.Module):
    """Natural logarithm of a magnitude mel spectrogram (Slaney bands), floored at 1e-5.

    Args:
        sample_rate: sample rate of the waveforms, in Hz.
        n_fft: number of samples in a frame.
        hop: number of samples between frames.
        num_mels: number of mel bands, M.
        f_max: upper edge of the bands in Hz; None for half the sample rate.
    """

    def __init__(
        self,
        sample_rate: int = 16_000,
        n_fft: int = 1024,
        hop: int = 256,
        num_mels: int = 80,
        f_max: float | None = None,
    ) -> None:
        """Build the transform."""
        super().__init__()
        self.padding = (n_fft - hop) // 2
        self.mel = MelSpectrogram(
            sample_rate,
            n_fft,
            hop_length=hop,
            n_mels=num_mels,
            f_max=f_max,
            power=1.0,
            center=False,
            norm="slaney",
            mel_scale="slaney",
        )

    def forward(self, waveforms: Tensor) -> Tensor:
        """Compute log mels (B, M, F), F = S // hop, of waveforms (B, S)."""
        padded = F.pad(waveforms.float(), (self.padding, self.padding), mode="reflect")
        return mel_magnitudes(self.mel, padded).clamp(min=FLOOR).log().transpose(1, 2)


class MelLoss(nn.Module):
    """Mean absolute difference of two log-mel spectrograms (nepers).

    Args:
        sample_rate: sample rate of the waveforms, in Hz.
    """

    def __init__(self, sample_rate: int = 16_000) -> None:
        """Build the transform."""
        super().__init__()
        self.log_mel = LogMel(sample_rate)

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the mean absolute difference of the log-mel spectrograms of two batches of waveforms (B, S)."""
        return F.l1_loss(self.log_mel(predicted), self.log_mel(target))

    def differences(self, predicted: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        """Compare waveforms (B, S) and (B, S) with lengths (B,), independently of what else is in the batch.

        Args:
            predicted: waveforms (B, S), zero after their lengths.
            target: waveforms (B, S), zero after their lengths.
            lengths: number of samples (B,) of both.

        Returns:
            The mean difference in nepers of each frame within a waveform, those of all waveforms in one row.
        """
        hop, silence = self.log_mel.mel.hop_length, (0, self.log_mel.mel.n_fft)  # silence after each waveform
        predicted, target = (self.log_mel(F.pad(waveforms, silence)) for waveforms in (predicted, target))
        apart = (predicted - target).abs().mean(1)
        return apart[torch.arange(apart.shape[1], device=apart.device) < -(-lengths // hop)[:, None]]


class MultiResolutionSTFTLoss(nn.Module):
    """Spectral convergence and log magnitude L1 at several resolutions (Yamamoto et al., 2020).

    Args:
        n_ffts: frame sizes in samples, one resolution for each; the hop is a quarter of the frame.
    """

    def __init__(self, n_ffts: tuple[int, ...] = (512, 1024, 2048)) -> None:
        """Build the transform."""
        super().__init__()
        self.n_ffts = tuple(n_ffts)
        for n_fft in self.n_ffts:
            self.register_buffer(f"window{n_fft}", torch.hann_window(n_fft), persistent=False)

    def magnitude(self, waveforms: Tensor, n_fft: int) -> Tensor:
        """Compute magnitudes (B, F, n_fft / 2 + 1) of waveforms (B, S)."""
        window: Tensor = getattr(self, f"window{n_fft}")
        return (centred_powers(waveforms.float(), window, n_fft // 4) + 1e-9).sqrt()

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Compare waveforms (B, S) and (B, S), and return the mean over the resolutions."""
        total = predicted.new_zeros(())
        for n_fft in self.n_ffts:
            a, b = self.magnitude(predicted, n_fft), self.magnitude(target, n_fft)
            convergence = (b - a).norm() / b.norm().clamp(min=1e-3)
            total = total + convergence + F.l1_loss(a.clamp(min=FLOOR).log(), b.clamp(min=FLOOR).log())
        return total / len(self.n_ffts)
