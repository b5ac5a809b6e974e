"""Contracts of unit vocoders and of decoders of neural codecs, which turn speech tokens into waveforms.

Shapes: B batch, R runs of equal units, T frames, C codebooks, S samples.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from spiritlm_pl.streams import SpeechLayout


class Voices(Protocol):
    """Names of voices and of styles; something with one voice knows None alone."""

    @property
    def layout(self) -> SpeechLayout:
        """The streams of tokens that it speaks."""
        ...

    @property
    def sample_rate(self) -> int:
        """Samples a second of the waveform, Hz."""
        ...

    @property
    def hop_length(self) -> int:
        """Samples a frame lasts."""
        ...

    def speaker_id(self, speaker: str | int | None) -> int:
        """The id of a voice given by name or id; None for the default one. Raises ValueError if unknown."""
        ...

    def style_id(self, style: str | int | None) -> int:
        """The id of a global style given by name or id; None for the default one. Raises ValueError if unknown."""
        ...


@runtime_checkable
class UnitVocoder(Voices, Protocol):
    """Speaks phonetic units, with a pitch and a style code each where it is expressive."""

    @property
    def expressive(self) -> bool:
        """Whether it takes pitch and style codes."""
        ...

    @property
    def num_units(self) -> int:
        """Number of units that it can speak."""
        ...

    def predict_log_durations(self, units: Tensor) -> Tensor:
        """Predict log(1 + d) (B, R) of deduplicated units (B, R), d in frames."""
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
        """Speak (R,) deduplicated units lasting (R,) frames, with a pitch and a style code each (R,): (S,)."""
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
    ) -> Tensor:
        """Speak the unit, and where it is expressive the pitch and style code, of each frame (T,): (S,)."""
        ...


@runtime_checkable
class CodebookDecoder(Voices, Protocol):
    """Turns frames of codes into a waveform, as the decoder of a neural codec does."""

    @property
    def num_codebooks(self) -> int:
        """Codes of each frame, C."""
        ...

    @property
    def lookahead(self) -> int:
        """Frames behind a frame on which its waveform depends; 0 for a causal decoder."""
        ...

    def decode_frames(self, codes: Tensor) -> Tensor:
        """Waveform (T * hop_length,) on the CPU of codes (T, C)."""
        ...
