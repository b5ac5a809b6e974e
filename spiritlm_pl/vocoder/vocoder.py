"""Unit vocoder (Polyak et al., 2021): embeddings of units and speaker, a generator, a duration predictor.

An expressive vocoder (arXiv 2402.05755, section 3.2) takes a pitch and a style code with each unit. Besides, a vocoder
may have global styles, one for a whole utterance. `HiFiGANVocoder` and `InverseSTFTVocoder` are the subclasses, which
differ in their `generator`.

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
from spiritlm_pl.vocoder.parts import Part, upsampled

Ids = Tensor | Sequence[int]


class Vocoder(nn.Module):
    """Base class of unit vocoders: embeddings and durations. Subclasses set `generator`, and extend `config_class`."""

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
        """Sample rate of the waveforms, in Hz."""
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        """Number of samples in a frame, the time of one frame-rate unit."""
        return self.config.hop_length

    @property
    def num_units(self) -> int:
        """Number of units that the vocoder can speak."""
        return self.config.num_units

    @property
    def layout(self) -> SpeechLayout:
        """Streams of speech tokens that the vocoder can speak."""
        return self.config.layout

    @property
    def margin(self) -> int:
        """Largest number of frames on either side on which a frame's waveform depends."""
        return int(cast(Any, self.generator).margin)

    @property
    def duration_reach(self) -> int:
        """Number of units on either side of a unit on which its duration depends."""
        return self.duration_predictor.reach

    @property
    def num_speakers(self) -> int:
        """Number of voices."""
        return len(self.config.speakers)

    @property
    def expressive(self) -> bool:
        """Whether the vocoder takes pitch and style codes."""
        return self.config.expressive

    def speaker_id(self, speaker: str | int | None) -> int:
        """Return the id of a voice given by name or id; of the default voice for None.

        Raises:
            ValueError: if there is no such voice.
        """
        return self.config.default_speaker if speaker is None else place_of("speaker", speaker, self.config.speakers)

    def style_id(self, style: str | int | None) -> int:
        """Return the id of a global style given by name or id; of the default style for None.

        Raises:
            ValueError: if there is no such style.
        """
        if style is None:
            return self.config.default_global_style
        if not self.config.styles:
            raise ValueError(f"style must be left out for a vocoder without global styles, but is {style} instead")
        return place_of("style", style, self.config.styles)

    def use_bfloat16(self) -> None:
        """Convert the generator to bfloat16, which is faster where processors support it and adds a little noise.

        Embeddings and durations stay as they are. The vocoder cannot be trained any more.
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
        """Embed the streams and concatenate them to (B, C, T): units, pitches, style codes, speaker, global style.

        Args:
            units: units (B, T), one per frame.
            speakers: ids of the speakers (B,).
            pitches: pitch code of each frame (B, T); a Base vocoder ignores it.
            styles: style code of each frame (B, T); a Base vocoder ignores it.
            global_styles: ids of the global styles (B,); None for the default style.
        """
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
        part: Part | None = None,
    ) -> Tensor:
        """Generate waveforms from frames.

        Args:
            units: units (B, T), one per frame.
            speakers: ids of the speakers (B,).
            pitches: pitch code of each frame (B, T); a Base vocoder ignores it.
            styles: style code of each frame (B, T); a Base vocoder ignores it.
            global_styles: ids of the global styles (B,); None for the default style. A vocoder without global styles
                ignores it.
            part: first frame of those whose waveform is wanted, and the frame behind the last one; None for all.

        Returns:
            Waveforms (B, S) in [-1, 1], or those of the part.

        Raises:
            ValueError: if an expressive vocoder is given no pitches or no styles.
        """
        conditioning = self.condition(units, speakers, pitches, styles, global_styles)
        given = conditioning.to(next(self.generator.parameters()).dtype)
        waveforms: Tensor
        if part is None:
            waveforms = self.generator(given)
        elif hasattr(self.generator, "part"):
            waveforms = cast(Any, self.generator).part(given, part)
        else:  # a generator of another package
            first, end = upsampled(part, self.hop_length)
            waveforms = self.generator(given)[:, first:end]
        return waveforms.to(conditioning.dtype)

    def predict_log_durations(self, units: Tensor, mask: Tensor | None = None) -> Tensor:
        """Predict log(1 + d) (B, R) of deduplicated units (B, R); the mask (B, R) is True where there is a unit."""
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
            units: unit ids (R,), deduplicated.
            speaker: name or id of the voice; None for the default voice.
            durations: number of frames each unit lasts (R,); None predicts them.
            pitches: pitch code of each unit (R,), -1 where there is none. The `default_pitch` of the configuration
                replaces codes that are missing, or all of them for None. A Base vocoder ignores it.
            styles: style code of each unit (R,), -1 where there is none; missing ones are replaced by `default_style`.
            style: name or id of the global style, where the vocoder has any; None for the default style.

        Returns:
            The waveform (S,), float32, on the CPU, S = hop_length * sum of durations; empty for no units.

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
        start: int = 0,
        stop: int | None = None,
    ) -> Tensor:
        """Speak frame-rate units.

        Args:
            units: unit id of each frame (T,).
            speaker: name or id of the voice; None for the default voice.
            pitches: pitch code of each frame (T,), -1 where there is none; as in `synthesize`.
            styles: style code of each frame (T,), -1 where there is none; as in `synthesize`.
            style: name or id of the global style, where the vocoder has any; None for the default style.
            start: first frame whose waveform is wanted; those before it are its surroundings alone.
            stop: frame behind the last whose waveform is wanted; None for T.

        Returns:
            The waveform (S,), float32, on the CPU, S = hop_length * (stop - start): a part of the whole.

        Raises:
            ValueError: if an id, the speaker or the style is unknown, the codes do not fit the units, or frames from
                start to stop are not there.
        """
        units = self._units(units, "T")
        pitches, styles = self._codes(units, pitches, styles)
        part = start, len(units) if stop is None else stop
        if not 0 <= part[0] <= part[1] <= len(units):
            raise ValueError(f"start and stop must be in order in [0, {len(units)}], but are {part[0]} and {part[1]}")
        if part[0] == part[1]:
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
                part,
            )
        return waveforms[0].float().cpu()

    def _units(self, units: Ids, axis: str) -> Tensor:
        """Move units to the network's device, and check that they have one axis and are in range."""
        units = torch.as_tensor(units, dtype=torch.long, device=self.unit_embedding.weight.device)
        if units.ndim != 1:
            raise ValueError(f"units must have shape ({axis},), but have {tuple(units.shape)} instead")
        _check_range("units", units, self.config.num_units)
        return units

    def _codes(self, units: Tensor, pitches: Ids | None, styles: Ids | None) -> tuple[Tensor | None, Tensor | None]:
        """Fill missing pitch and style codes with their defaults, and check the ranges; None for a Base vocoder."""
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


def place_of(argument: str, name: str | int, names: Sequence[str]) -> int:
    """Return the place of a name in `names`, or the place itself if it is given as a number or as its digits."""
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
    """Put a network into evaluation mode within a context."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
