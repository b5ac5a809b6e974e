"""Contracts of unit vocoders and of decoders of neural codecs, which turn speech tokens into waveforms.

Shapes: B batch, R runs of equal units, T frames, C codebooks, S samples.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from spiritlm_pl.streams import SpeechLayout


class Voices(Protocol):
    """Members that unit vocoders and codec decoders share: rates, streams, voices and styles.

    Something that has one voice or no styles accepts None alone.
    """

    @property
    def layout(self) -> SpeechLayout:
        """The streams of speech tokens from which it makes waveforms."""
        ...

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveform in Hz."""
        ...

    @property
    def hop_length(self) -> int:
        """Number of samples per frame."""
        ...

    def speaker_id(self, speaker: str | int | None) -> int:
        """Return the id of a voice, given by name or id; None gives the default voice. Raise ValueError if unknown."""
        ...

    def style_id(self, style: str | int | None) -> int:
        """Return the id of a global style, given by name or id; None gives the default. Raise ValueError if unknown."""
        ...


@runtime_checkable
class UnitVocoder(Voices, Protocol):
    """Synthesises waveforms from phonetic units, each with a pitch and a style code if the vocoder is expressive."""

    @property
    def expressive(self) -> bool:
        """Whether it takes pitch and style codes."""
        ...

    @property
    def num_units(self) -> int:
        """Number of units that it knows."""
        ...

    def predict_log_durations(self, units: Tensor) -> Tensor:
        """Predict log(1 + d) (B, R) of deduplicated units (B, R), where d is the duration in frames."""
        ...

    def synthesize(
        self,
        units: Tensor,
        speaker: str | int | None = None,
        durations: Tensor | None = None,
        pitches: Tensor | None = None,
        styles: Tensor | None = None,
        style: str | int | None = None,
    ) -> Tensor:
        """Synthesise a waveform (S,) from deduplicated units.

        Args:
            units: deduplicated phonetic units (R,).
            speaker: name or id of the voice; None for the default.
            durations: duration of each unit (R,) in frames; None to predict them.
            pitches: pitch code of each unit (R,), -1 for the default code; None for the default code everywhere.
            styles: style code of each unit (R,), -1 for the default code; None for the default code everywhere.
            style: name or id of the global style; None for the default.
        """
        ...


@runtime_checkable
class StreamingVocoder(UnitVocoder, Protocol):
    """Speaks a window of frames as it would speak them within a longer waveform, so that speech can be streamed."""

    @property
    def margin(self) -> int:
        """Frames before and behind a frame on which its waveform depends."""
        ...

    @property
    def duration_reach(self) -> int:
        """Units before and behind a unit on which its duration depends."""
        ...

    def speak_frames(
        self,
        units: Tensor,
        speaker: str | int | None = None,
        pitches: Tensor | None = None,
        styles: Tensor | None = None,
        style: str | int | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Tensor:
        """Speak the unit, and where it is expressive the pitch and style code, of each frame (T,).

        Args:
            units: unit of each frame (T,).
            speaker: name or id of the voice; None for the default.
            pitches: pitch code of each frame (T,), -1 for the default code; None for the default code everywhere.
            styles: style code of each frame (T,), -1 for the default code; None for the default code everywhere.
            style: name or id of the global style; None for the default.
            start: first frame whose waveform is wanted.
            stop: frame behind the last whose waveform is wanted; None for T.

        Returns:
            The waveform (S,) of the frames from start to stop, S = hop_length * (stop - start).
        """
        ...


@runtime_checkable
class CodebookDecoder(Voices, Protocol):
    """Turns frames of codes into a waveform, as the decoder of a neural codec does."""

    @property
    def num_codebooks(self) -> int:
        """Number of codebooks, C, each of which gives one code per frame."""
        ...

    @property
    def lookahead(self) -> int:
        """Number of following frames on which the waveform of a frame depends; 0 for a causal decoder."""
        ...

    def decode_frames(self, codes: Tensor) -> Tensor:
        """Decode codes (T, C), one row per frame, to a waveform (T * hop_length,) on the CPU."""
        ...
