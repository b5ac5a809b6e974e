"""The unit vocoder (Polyak et al., 2021): embedded units and speaker, a generator, a duration predictor.

Generators differ by type: `HiFiGANVocoder` and `InverseSTFTVocoder` fill in `generate`.

Shapes: B batch, T frames, R runs of equal units, C channels of the conditioning, S = T * hop_length samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spiritlm_pl.vocoder.duration import DurationPredictor, durations_from_log


@dataclass(frozen=True, kw_only=True)
class VocoderConfig:
    """What every vocoder has, whatever its generator.

    Args:
        num_units: size of the unit vocabulary.
        speakers: names of the voices; a speaker's id is its place here.
        styles: names of the global styles (the published Base vocoder has them); empty for none.
        embedding_dim: channels of the unit, speaker and style embeddings each.
        sample_rate: of the waveform, Hz.
        hop_length: samples a unit lasts.
        duration_channels: hidden channels of the duration predictor.
        duration_dropout: its dropout.
    """

    num_units: int = 500
    speakers: tuple[str, ...] = ("speaker0", "speaker1", "speaker2", "speaker3")
    styles: tuple[str, ...] = ()
    embedding_dim: int = 128
    sample_rate: int = 16_000
    hop_length: int = 640
    duration_channels: int = 128
    duration_dropout: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("num_units", "embedding_dim", "sample_rate", "hop_length", "duration_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)} instead")
        if not self.speakers:
            raise ValueError("speakers must name at least one voice, but is empty instead")

    @property
    def conditioning_dim(self) -> int:
        """Channels that a generator reads."""
        return self.embedding_dim * (3 if self.styles else 2)


class Vocoder(nn.Module):
    """Embeddings and durations; subclasses set `self.generator` and hold a richer configuration."""

    config_class: type[VocoderConfig] = VocoderConfig
    generator: nn.Module

    def __init__(self, config: VocoderConfig) -> None:
        """Build embeddings and duration predictor."""
        super().__init__()
        self.config = config
        self.unit_embedding = nn.Embedding(config.num_units, config.embedding_dim)
        self.speaker_embedding = nn.Embedding(len(config.speakers), config.embedding_dim)
        if config.styles:
            self.style_embedding = nn.Embedding(len(config.styles), config.embedding_dim)
        self.duration_predictor = DurationPredictor(
            config.embedding_dim, config.duration_channels, dropout=config.duration_dropout
        )

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples a unit lasts."""
        return self.config.hop_length

    @property
    def num_speakers(self) -> int:
        """Number of voices."""
        return len(self.config.speakers)

    def speaker_id(self, speaker: str | int) -> int:
        """The id of a voice given by name or id.

        Raises:
            ValueError: if there is no such voice.
        """
        if isinstance(speaker, int) and 0 <= speaker < self.num_speakers:
            return speaker
        if speaker not in self.config.speakers:
            names = ", ".join(self.config.speakers)
            raise ValueError(f"speaker must be one of {names} or in [0, {self.num_speakers}), but is {speaker} instead")
        return self.config.speakers.index(str(speaker))

    def condition(self, units: Tensor, speakers: Tensor, styles: Tensor | None = None) -> Tensor:
        """Embed units (B, T), speakers (B,) and styles (B,), concatenated in this order: (B, C, T)."""
        parts = [self.unit_embedding(units), self._spread(self.speaker_embedding(speakers), units)]
        if self.config.styles:
            styles = torch.zeros_like(speakers) if styles is None else styles
            parts.append(self._spread(self.style_embedding(styles), units))
        return torch.cat(parts, dim=-1).transpose(1, 2)

    @staticmethod
    def _spread(embedded: Tensor, units: Tensor) -> Tensor:
        return embedded[:, None].expand(-1, units.shape[1], -1)

    def forward(self, units: Tensor, speakers: Tensor, styles: Tensor | None = None) -> Tensor:
        """Frame-rate units (B, T), speakers (B,), styles (B,) to waveforms (B, T * hop_length) in [-1, 1]."""
        waveforms: Tensor = self.generator(self.condition(units, speakers, styles))
        return waveforms

    def predict_log_durations(self, units: Tensor, mask: Tensor | None = None) -> Tensor:
        """Predict log(1 + d) (B, R) of deduplicated units (B, R), the mask (B, R) False beyond them."""
        predicted: Tensor = self.duration_predictor(self.unit_embedding(units), mask)
        return predicted

    @torch.no_grad()
    def synthesize(
        self,
        units: Tensor | Sequence[int],
        speaker: str | int = 0,
        durations: Tensor | None = None,
        style: int | None = None,
    ) -> Tensor:
        """Speak deduplicated units.

        Args:
            units: (R,) unit ids.
            speaker: name or id of the voice.
            durations: (R,) frames each unit lasts; predicted when not given.
            style: id of the global style, where the vocoder has styles; 0 when not given.

        Returns:
            (S,) float32 waveform on the CPU, S = hop_length * sum of durations; empty for no units.

        Raises:
            ValueError: if a unit or the speaker is unknown, or durations do not fit the units.
        """
        device = self.unit_embedding.weight.device
        units = torch.as_tensor(units, dtype=torch.long, device=device)
        if units.ndim != 1:
            raise ValueError(f"units must have shape (R,), but have {tuple(units.shape)} instead")
        if len(units) == 0:
            return torch.zeros(0)
        if int(units.min()) < 0 or int(units.max()) >= self.config.num_units:
            wrong = units[(units < 0) | (units >= self.config.num_units)][0]
            raise ValueError(f"units must be in [0, {self.config.num_units}), but one is {int(wrong)} instead")
        speakers = torch.tensor([self.speaker_id(speaker)], device=device)
        styles = None if style is None else torch.tensor([style], device=device)
        training = self.training
        self.eval()
        if durations is None:
            durations = durations_from_log(self.predict_log_durations(units[None]))[0]
        elif durations.shape != units.shape:
            raise ValueError(
                f"durations must have shape {tuple(units.shape)}, but have {tuple(durations.shape)} instead"
            )
        frames = units.repeat_interleave(durations.to(device))
        waveform = self(frames[None], speakers, styles)[0]
        self.train(training)
        return waveform.float().cpu()
