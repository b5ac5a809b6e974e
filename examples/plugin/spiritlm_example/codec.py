"""A whole speech tokenizer that also decodes: pitch and level of each frame as codes, and sines as speech.

It has nothing to train. Write its folder with
`spiritlm_pl.runtime.checkpoint.save_network(folder, SineCodec(SineCodecConfig()), "speech_tokenizer")`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spiritlm_pl.contracts.speech_tokenizer import Units
from spiritlm_pl.streams import SpeechLayout, Stream

LOWEST, HIGHEST = 60.0, 4000.0  # Hz
QUIETEST = -60.0  # dB below full scale; the first code of a level


@dataclass(frozen=True, kw_only=True)
class SineCodecConfig:
    """Sizes of the codec.

    Args:
        num_codes: number of different pitches, and of different levels.
        sample_rate: sample rate in Hz.
        hop_length: number of samples per frame.
    """

    num_codes: int = 64
    sample_rate: int = 16_000
    hop_length: int = 640


class SineCodec(nn.Module):
    """Two codebooks at 25 Hz; see `SpeechTokenizer` and `CodebookDecoder` of `spiritlm_pl.contracts`."""

    config_class = SineCodecConfig
    num_codebooks, lookahead = 2, 0

    def __init__(self, config: SineCodecConfig) -> None:
        """Compute the pitch of each code."""
        super().__init__()
        self.config, self.cardinality = config, config.num_codes
        self.sample_rate, self.hop_length = config.sample_rate, config.hop_length
        self.frame_rate = config.sample_rate / config.hop_length
        steps = torch.linspace(math.log(LOWEST), math.log(HIGHEST), config.num_codes)
        self.register_buffer("pitches", steps.exp())  # Hz

    @property
    def layout(self) -> SpeechLayout:
        """Both codebooks as one stream of tokens."""
        return SpeechLayout(
            (
                Stream(
                    name="sines",
                    prefix="Si",
                    size=self.cardinality,
                    rate=self.frame_rate,
                    num_codebooks=self.num_codebooks,
                    deduplicated=False,
                ),
            )
        )

    @torch.no_grad()
    def encode(self, waveforms: Tensor, lengths: Tensor) -> list[Units]:
        """Encode waveforms (B, S) with lengths (B,) in samples."""
        found = []
        for waveform, length in zip(waveforms, lengths.tolist(), strict=True):
            frames = waveform[: length // self.hop_length * self.hop_length].view(-1, self.hop_length)  # (T, hop)
            spectrum = torch.fft.rfft(frames * torch.hann_window(self.hop_length, device=frames.device), 4096).abs()
            peak = spectrum.argmax(1) * self.sample_rate / 4096 if len(frames) else frames[:, 0]
            pitch = (peak[:, None].clamp(min=1).log() - self.pitches.log()).abs().argmin(1)
            decibels = 10 * frames.square().mean(1).clamp(min=1e-9).log10()
            level = ((decibels / -QUIETEST + 1) * (self.cardinality - 1)).round().long().clamp(0, self.cardinality - 1)
            found.append(Units.of_codebooks(torch.stack([pitch, level], 1).cpu()))
        return found

    @torch.no_grad()
    def decode_frames(self, codes: Tensor) -> Tensor:
        """Decode codes (T, 2) to a waveform (T * hop_length,), with a phase that is continuous over frames."""
        pitch = self.pitches.cpu()[codes[:, 0]].repeat_interleave(self.hop_length)
        decibels = (codes[:, 1] / (self.cardinality - 1) - 1) * -QUIETEST
        level = (math.sqrt(2) * 10 ** (decibels / 20)).repeat_interleave(self.hop_length)
        phase = (2 * math.pi * pitch.double() / self.sample_rate).cumsum(0)
        return (level * phase.sin()).float().clamp(-1, 1)

    def speaker_id(self, speaker: str | int | None) -> int:
        """Return the id of the only voice."""
        return 0

    def style_id(self, style: str | int | None) -> int:
        """Return the id of the only style."""
        return 0
