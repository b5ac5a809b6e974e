"""The unit vocoder (Polyak et al., 2021): embedded units and speaker, a generator, a duration predictor.

An expressive one (arXiv 2402.05755, section 3.2) takes a pitch and a style code with each unit; beside that, a
vocoder may know global styles, one for a whole utterance. Generators differ by type: `HiFiGANVocoder` and
`InverseSTFTVocoder` set `generator`.

Shapes: B batch, T frames, R runs of equal units, C channels of the conditioning, S = T * hop_length samples.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from spiritlm_pl.data.merge import NONE
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.vocoder.config import VocoderConfig
from spiritlm_pl.vocoder.duration import DurationPredictor, durations_from_log

Ids = Tensor | Sequence[int]


class Vocoder(nn.Module):
    """Embeddings and durations; subclasses set `self.generator` and hold a richer configuration."""

    config_class: type[VocoderConfig] = VocoderConfig
    generator: nn.Module

    def __init__(self, config: VocoderConfig) -> None:
        """Build embeddings and duration predictor."""
        super().__init__()
        self.config = config
        self.unit_embedding = nn.Embedding(config.num_units, config.embedding_dim)
        if config.expressive:
            self.pitch_embedding = nn.Embedding(config.num_pitches, config.embedding_dim)
            self.style_code_embedding = nn.Embedding(config.num_styles, config.embedding_dim)
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
    def num_units(self) -> int:
        """Units that it can speak."""
        return self.config.num_units

    @property
    def layout(self) -> SpeechLayout:
        """The streams of tokens that it speaks."""
        return self.config.layout

    @property
    def margin(self) -> int:
        """Frames on either side that a frame's waveform depends on, at most."""
        return int(cast(Any, self.generator).margin)

    @property
    def num_speakers(self) -> int:
        """Number of voices."""
        return len(self.config.speakers)

    @property
    def expressive(self) -> bool:
        """Whether it takes pitch and style codes."""
        return self.config.expressive

    def speaker_id(self, speaker: str | int | None) -> int:
        """The id of a voice given by name or id; None for the default one.

        Raises:
            ValueError: if there is no such voice.
        """
        return self.config.default_speaker if speaker is None else _place("speaker", speaker, self.config.speakers)

    def style_id(self, style: str | int | None) -> int:
        """The id of a global style given by name or id; None for the default one.

        Raises:
            ValueError: if there is no such style.
        """
        if style is None:
            return self.config.default_global_style
        if not self.config.styles:
            raise ValueError(f"style must be None for a vocoder without global styles, but is {style} instead")
        return _place("style", style, self.config.styles)

    def use_bfloat16(self) -> None:
        """Hold the generator in bfloat16: faster on processors that can, with a little noise; training is over then.

        Embeddings and durations stay as they are.
        """
        for parameter in self.generator.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)

    def condition(
        self,
        units: Tensor,
        speakers: Tensor,
        pitches: Tensor | None = None,
        styles: Tensor | None = None,
        global_styles: Tensor | None = None,
    ) -> Tensor:
        """Embed the streams and concatenate them to (B, C, T): units, pitches, style codes, speaker, global style."""
        parts = [self.unit_embedding(units)]
        if self.expressive:
            for name, codes, embedding in (
                ("pitches", pitches, self.pitch_embedding),
                ("styles", styles, self.style_code_embedding),
            ):
                if codes is None:
                    raise ValueError(f"{name} must be given to an expressive vocoder, but is None instead")
                parts.append(embedding(codes))
        parts.append(self._spread(self.speaker_embedding(speakers), units))
        if self.config.styles:
            if global_styles is None:
                global_styles = torch.full_like(speakers, self.style_id(None))
            parts.append(self._spread(self.style_embedding(global_styles), units))
        return torch.cat(parts, dim=-1).transpose(1, 2)

    @staticmethod
    def _spread(embedded: Tensor, units: Tensor) -> Tensor:
        return embedded[:, None].expand(-1, units.shape[1], -1)

    def forward(
        self,
        units: Tensor,
        speakers: Tensor,
        pitches: Tensor | None = None,
        styles: Tensor | None = None,
        global_styles: Tensor | None = None,
    ) -> Tensor:
        """Frames to waveforms.

        Args:
            units: (B, T) frame-rate units.
            speakers: (B,) ids.
            pitches: (B, T) the pitch code at each frame; Base ignores it.
            styles: (B, T) the style code at each frame; Base ignores it.
            global_styles: (B,) ids; the default one where not given. A vocoder without global styles ignores it.

        Returns:
            (B, S) waveforms in [-1, 1].

        Raises:
            ValueError: if an expressive vocoder is given no pitches or no styles.
        """
        conditioning = self.condition(units, speakers, pitches, styles, global_styles)
        waveforms: Tensor = self.generator(conditioning.to(next(self.generator.parameters()).dtype))
        return waveforms.to(conditioning.dtype)

    def predict_log_durations(self, units: Tensor, mask: Tensor | None = None) -> Tensor:
        """Predict log(1 + d) (B, R) of deduplicated units (B, R), the mask (B, R) False beyond them."""
        predicted: Tensor = self.duration_predictor(self.unit_embedding(units), mask)
        return predicted

    @torch.no_grad()
    def synthesize(
        self,
        units: Ids,
        speaker: str | int | None = None,
        durations: Tensor | None = None,
        pitches: Ids | None = None,
        styles: Ids | None = None,
        style: str | int | None = None,
    ) -> Tensor:
        """Speak deduplicated units.

        Args:
            units: (R,) unit ids.
            speaker: name or id of the voice; the default one when not given.
            durations: (R,) frames each unit lasts; predicted when not given.
            pitches: (R,) pitch code of each unit, -1 where there is none; the configuration's `default_pitch`
                takes the place of what is missing. Base ignores it.
            styles: (R,) style code of each unit, as pitches.
            style: name or id of the global style, where the vocoder has any; the default one when not given.

        Returns:
            (S,) float32 waveform on the CPU, S = hop_length * sum of durations; empty for no units.

        Raises:
            ValueError: if an id, the speaker or the style is unknown, or another argument does not fit the units.
        """
        units = self._units(units, "R")
        pitches, styles = self._codes(units, pitches, styles)
        if len(units) == 0:
            return torch.zeros(0)
        if durations is None:
            with _evaluating(self):
                durations = durations_from_log(self.predict_log_durations(units[None]))[0]
        elif durations.shape != units.shape:
            raise ValueError(
                f"durations must have shape {tuple(units.shape)}, but have {tuple(durations.shape)} instead"
            )
        times = durations.to(units.device)
        pitches, styles = (None if ids is None else ids.repeat_interleave(times) for ids in (pitches, styles))
        return self.speak_frames(units.repeat_interleave(times), speaker, pitches, styles, style)

    @torch.no_grad()
    def speak_frames(
        self,
        units: Ids,
        speaker: str | int | None = None,
        pitches: Ids | None = None,
        styles: Ids | None = None,
        style: str | int | None = None,
    ) -> Tensor:
        """Speak frame-rate units (T,), with the pitch and the style code at each frame (T,), as `synthesize`: (S,)."""
        units = self._units(units, "T")
        pitches, styles = self._codes(units, pitches, styles)
        if len(units) == 0:
            return torch.zeros(0)
        speakers = units.new_tensor([self.speaker_id(speaker)])
        global_styles = units.new_tensor([self.style_id(style)])
        with _evaluating(self):
            waveforms = self(
                units[None],
                speakers,
                None if pitches is None else pitches[None],
                None if styles is None else styles[None],
                global_styles,
            )
        return waveforms[0].float().cpu()

    def _units(self, units: Ids, axis: str) -> Tensor:
        """Units of one axis on the network's device, checked."""
        units = torch.as_tensor(units, dtype=torch.long, device=self.unit_embedding.weight.device)
        if units.ndim != 1:
            raise ValueError(f"units must have shape ({axis},), but have {tuple(units.shape)} instead")
        _check_range("units", units, self.config.num_units)
        return units

    def _codes(self, units: Tensor, pitches: Ids | None, styles: Ids | None) -> tuple[Tensor | None, Tensor | None]:
        """Pitch and style codes of the shape of units, the defaults where there are none; None for Base."""
        if not self.expressive:
            return None, None
        config, found = self.config, []
        for name, codes, size, default in (
            ("pitches", pitches, config.num_pitches, config.default_pitch),
            ("styles", styles, config.num_styles, config.default_style),
        ):
            codes = torch.full_like(units, NONE) if codes is None else torch.as_tensor(codes).to(units)
            if codes.shape != units.shape:
                raise ValueError(
                    f"{name} must have shape {tuple(units.shape)}, that of units, but have {tuple(codes.shape)} instead"
                )
            found.append(codes.masked_fill(codes == NONE, default))
            _check_range(name, found[-1], size)
        return found[0], found[1]


def _place(argument: str, name: str | int, names: Sequence[str]) -> int:
    """Place of a name, or the place itself if it is a number, also one that comes as text."""
    if isinstance(name, str) and name not in names and name.isdecimal():
        name = int(name)
    if isinstance(name, int) and 0 <= name < len(names):
        return name
    if name not in names:
        known = ", ".join(names)
        raise ValueError(f"{argument} must be one of {known} or in [0, {len(names)}), but is {name} instead")
    return names.index(str(name))


def _check_range(name: str, ids: Tensor, size: int) -> None:
    wrong = ids[(ids < 0) | (ids >= size)]
    if len(wrong):
        raise ValueError(f"{name} must be in [0, {size}), but one is {int(wrong[0])} instead")


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
