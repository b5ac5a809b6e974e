"""Log-mel input of HuBERT in place of convolutions (MelHuBERT: Lin et al., 2022), to train within minutes.

Shapes: B batch, S samples, F frames at 100 Hz, T output frames, C channels (bands x grouped frames).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram

from spiritlm_pl.contracts.batches import within
from spiritlm_pl.tokenizers.features import ANALYSIS_RATE, normalize_frames
from spiritlm_pl.tokenizers.mel_spectrum import mel_powers


class MelFrontend(nn.Module):
    """Normalised log-mel frames at 100 Hz, grouped to the frame rate; it has no parameters.

    Args:
        sample_rate: sample rate of the waveforms, in Hz.
        hop_length: number of samples between output frames, a multiple of 10 ms.
        channels: size of an output frame, C, a multiple of the number of grouped frames.

    Raises:
        ValueError: if hop length or channels do not fit.
    """

    def __init__(self, sample_rate: int, hop_length: int, channels: int) -> None:
        """Build the filter bank."""
        super().__init__()
        self.step = sample_rate // ANALYSIS_RATE
        self.group, rest = divmod(hop_length, self.step)
        if rest or self.group == 0:
            raise ValueError(f"hop must be a multiple of {self.step} samples, but is {hop_length} instead")
        if channels % self.group:
            raise ValueError(f"channels must be a multiple of {self.group}, but is {channels} instead")
        window = sample_rate // 40
        self.size = 1 << (window - 1).bit_length()
        self.mel = MelSpectrogram(
            sample_rate,
            n_fft=self.size,
            win_length=window,
            hop_length=self.step,
            n_mels=channels // self.group,
            center=False,
            f_min=20.0,
        )

    def forward(self, waveforms: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Compute frames (B, T, C) and their number (B,) from waveforms (B, S), normalised over each utterance."""
        batch, samples = waveforms.shape
        longest = samples // (self.step * self.group)
        border = (self.size - self.step) // 2
        with torch.autocast(waveforms.device.type, enabled=False):
            padded = functional.pad(waveforms.float(), (border, border))
            frames = (mel_powers(self.mel, padded)[:, : longest * self.group] + 1e-6).log()  # (B, F, bands)
        own = torch.full((batch,), samples, device=waveforms.device) if lengths is None else lengths
        counts = own // (self.step * self.group)
        fine = counts * self.group
        inside = within(fine, frames.shape[1])
        frames = normalize_frames(frames, fine) * inside.unsqueeze(-1)
        return frames.reshape(batch, longest, -1), None if lengths is None else counts
