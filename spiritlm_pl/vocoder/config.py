"""Configuration that all vocoders share, whatever their generator.

There are two kinds of style. Style *codes* change with time and come from an expressive tokenizer, `num_styles` of
them. A *global* style holds for a whole utterance and has one of the names in `styles`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spiritlm_pl.streams import PITCH, PLURALS, STYLE, UNIT, SpeechLayout
from spiritlm_pl.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class VocoderConfig:
    """Sizes and names of a vocoder.

    Args:
        num_units: size of the unit vocabulary.
        num_pitches: number of different pitch codes; 0 for a Base vocoder, which takes none.
        num_styles: number of different style codes; 0 for a Base vocoder, which takes none.
        default_pitch: pitch code for units that come without one; training sets it to the most frequent code of its
            data.
        default_style: style code for units that come without one; training sets it to the most frequent code of its
            data.
        speakers: names of the voices; the id of a speaker is its place in this tuple.
        styles: names of the global styles, which the published Base vocoder has; empty for a vocoder without them.
        default_speaker: id of the voice that is used where none is asked for.
        default_global_style: id of the global style that is used where none is asked for.
        embedding_dim: channels of each embedding (units, pitches, style codes, speakers, global styles).
        sample_rate: sample rate of the waveform, in Hz.
        hop_length: number of samples in a frame, the time of one frame-rate unit.
        duration_channels: hidden channels of the duration predictor.
        duration_dropout: probability of dropping an activation of the duration predictor.
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
        """Whether the vocoder takes pitch and style codes."""
        return self.num_pitches > 0

    @property
    def layout(self) -> SpeechLayout:
        """Streams of speech tokens that the vocoder can speak."""
        rate = self.sample_rate / self.hop_length
        return SpeechLayout.spirit_lm(self.num_units, rate, self.num_pitches, self.num_styles)

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the inputs of the generator, in their order, with `embedding_dim` channels each."""
        codes = ("pitches", "styles") if self.expressive else ()
        return ("units", *codes, "speaker", *(("global_style",) if self.styles else ()))

    @property
    def conditioning_dim(self) -> int:
        """Number of channels that the generator reads."""
        return self.embedding_dim * len(self.streams)

    def check_data(
        self, speakers: Sequence[str] | None, styles: Sequence[str] | None, layout: SpeechLayout | None
    ) -> None:
        """Compare with the voices, the global styles and the tokenizer of training data.

        A Base vocoder may train on expressive data, whose codes it ignores.

        Args:
            speakers: names of the data's voices; None skips the comparison.
            styles: names of the data's global styles; None skips the comparison.
            layout: streams of the data's speech tokens; None skips the comparison.

        Raises:
            ValueError: if one of them does not fit the configuration.
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
    """Refuse a vocoder that cannot speak the tokens of a language model.

    A Base vocoder ignores pitch and style, and an expressive one can speak without them. The published language models
    have one unit more than the vocoders, a blank, which is not spoken.

    Args:
        config: configuration of the vocoder.
        vocabulary: layout of the language model's token ids.
        folder: folder of the vocoder, for messages.

    Raises:
        ValueError: if the vocoder has too few units, pitches or styles.
    """
    for name, found in ((UNIT, config.num_units), (PITCH, config.num_pitches), (STYLE, config.num_styles)):
        fewest, blank = vocabulary.size(name), 1 if name == UNIT else 0
        if found < fewest - blank and (found or name == UNIT):
            raise ValueError(
                f"num_{PLURALS[name]} of the vocoder must be at least the language model's {fewest - blank}, "
                f"but that of {folder} is {found} instead"
            )
