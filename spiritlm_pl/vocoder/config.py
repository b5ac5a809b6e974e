"""What every vocoder has, whatever its generator.

Two kinds of style: style *codes* change with time and come from an expressive tokenizer, `num_styles` of them; a
*global* style holds for a whole utterance and has one of the names in `styles`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spiritlm_pl.streams import PITCH, PLURALS, STYLE, UNIT, SpeechLayout
from spiritlm_pl.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class VocoderConfig:
    """Sizes and names.

    Args:
        num_units: size of the unit vocabulary.
        num_pitches: number of different pitch codes, 0 for Base.
        num_styles: number of different style codes, 0 for Base.
        default_pitch: code of units that have no pitch; training sets it to the commonest of its data.
        default_style: code of units that have no style; training sets it likewise.
        speakers: names of the voices; a speaker's id is its place here.
        styles: names of the global styles (the published Base vocoder has them); empty for none.
        default_speaker: id of the voice where none is asked for.
        default_global_style: id of the global style where none is asked for.
        embedding_dim: channels of each embedding: units, pitches, style codes, speakers, global styles.
        sample_rate: of the waveform, Hz.
        hop_length: samples a unit lasts.
        duration_channels: hidden channels of the duration predictor.
        duration_dropout: its dropout.
    """

    num_units: int = 500
    num_pitches: int = 0
    num_styles: int = 0
    default_pitch: int = 0
    default_style: int = 0
    speakers: tuple[str, ...] = ("speaker0", "speaker1", "speaker2", "speaker3")
    styles: tuple[str, ...] = ()
    default_speaker: int = 0
    default_global_style: int = 0
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
        if min(self.num_pitches, self.num_styles) < 0 or (self.num_pitches > 0) != (self.num_styles > 0):
            raise ValueError(
                "num_pitches and num_styles must both be 0 (Base) or both be at least 1 (Expressive), "
                f"but are {self.num_pitches} and {self.num_styles} instead"
            )
        for name, size in (
            ("default_pitch", self.num_pitches),
            ("default_style", self.num_styles),
            ("default_speaker", len(self.speakers)),
            ("default_global_style", len(self.styles)),
        ):
            if not 0 <= getattr(self, name) < max(1, size):
                raise ValueError(f"{name} must be in [0, {max(1, size)}), but is {getattr(self, name)} instead")

    @property
    def expressive(self) -> bool:
        """Whether it takes pitch and style codes."""
        return self.num_pitches > 0

    @property
    def layout(self) -> SpeechLayout:
        """The streams of tokens that it speaks."""
        rate = self.sample_rate / self.hop_length
        return SpeechLayout.spirit_lm(self.num_units, rate, self.num_pitches, self.num_styles)

    @property
    def streams(self) -> tuple[str, ...]:
        """What a generator reads, in this order, `embedding_dim` channels each."""
        codes = ("pitches", "styles") if self.expressive else ()
        return ("units", *codes, "speaker", *(("global_style",) if self.styles else ()))

    @property
    def conditioning_dim(self) -> int:
        """Channels that a generator reads."""
        return self.embedding_dim * len(self.streams)

    def check_data(
        self, speakers: Sequence[str] | None, styles: Sequence[str] | None, layout: SpeechLayout | None
    ) -> None:
        """Compare with the names of voices and of global styles, and with the tokenizer, of data to train on.

        A Base network may train on expressive data, whose codes it ignores.

        Raises:
            ValueError: if they do not fit; what is None is not compared.
        """
        for name, known, wanted in (("speakers", self.speakers, speakers), ("styles", self.styles, styles)):
            if wanted is not None and tuple(wanted) != tuple(known):
                raise ValueError(
                    f"network.config.{name} must be the data's {name} {list(wanted)}, but is {list(known)} instead"
                )
        if layout is None:
            return
        if self.expressive and not layout.expressive:
            raise ValueError(
                f"units must have pitch and style codes for a network with num_pitches {self.num_pitches} and "
                f"num_styles {self.num_styles}, but have units alone instead: take those of an expressive tokenizer"
            )
        if not layout.phonetic:
            raise ValueError(f"units must be phonetic units, but the data has {', '.join(layout.names)} instead")
        for stream in self.layout.streams:
            if layout.size(stream.name) > stream.size:
                raise ValueError(
                    f"network.config.num_{stream.plural} must be at least the data's {layout.size(stream.name)}, "
                    f"but is {stream.size} instead"
                )


def check_vocoder(config: VocoderConfig, vocabulary: Vocabulary, folder: str | Path) -> None:
    """A Base vocoder leaves pitch and style aside, an expressive one speaks without them.

    The published language models have one unit more than the vocoders, a blank; it is not spoken.
    """
    for name, found in ((UNIT, config.num_units), (PITCH, config.num_pitches), (STYLE, config.num_styles)):
        fewest, blank = vocabulary.size(name), 1 if name == UNIT else 0
        if found < fewest - blank and (found or name == UNIT):
            raise ValueError(
                f"num_{PLURALS[name]} of the vocoder must be at least the language model's {fewest - blank}, "
                f"but of {folder} is {found} instead"
            )
