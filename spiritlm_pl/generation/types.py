"""What a prompt and an answer are made of.

Shapes: S samples, R runs of equal units.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy.typing as npt
from torch import Tensor

OutputModality: TypeAlias = Literal["text", "speech", "any"]
FinishReason: TypeAlias = Literal["stop", "length"]  # the model said that it is done, or it had no tokens left
OUTPUT_MODALITIES: tuple[OutputModality, ...] = ("text", "speech", "any")


@dataclass(frozen=True)
class Text:
    """A piece of text.

    Args:
        text: what is written.
        tokens: ids with which a model wrote it, which its tokenizer may not give for the same text; None for a prompt.
    """

    text: str
    tokens: tuple[int, ...] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check the type."""
        if not isinstance(self.text, str):
            raise ValueError(f"text must be a string, but is {self.text!r} instead")


@dataclass(frozen=True, eq=False)
class Speech:
    """A piece of speech: as audio, as tokens, as units. A prompt needs one of them; tokens win, then units.

    Args:
        audio: a file, or a waveform (S,) or (C, S) as a tensor or an array; None where there is no vocoder.
        sample_rate: of a waveform, Hz; a file knows its own.
        units: (R,) deduplicated phonetic units.
        durations: (R,) frames that each unit lasts, where known.
        tokens: ids of the language model, pitch and style among the units where it has them.
    """

    audio: str | Path | Tensor | npt.NDArray[Any] | None = None
    sample_rate: int = 16_000
    units: Tensor | None = None
    durations: Tensor | None = None
    tokens: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check the rate."""
        if self.sample_rate < 1:
            raise ValueError(f"sample_rate must be at least 1 Hz, but is {self.sample_rate} instead")

    @property
    def waveform(self) -> Tensor:
        """The (S,) waveform of an answer.

        Raises:
            ValueError: if there is none, as without a vocoder, or for a prompt given as a file.
        """
        if not isinstance(self.audio, Tensor):
            raise ValueError(f"audio must be a waveform, but is {self.audio} instead (was a vocoder loaded?)")
        return self.audio


Piece: TypeAlias = Text | Speech


class Answer(list[Piece]):
    """The pieces of an answer in their order, and why it ended.

    Attributes:
        finish_reason: "stop" where the model ended by itself, "length" where it had no new tokens left.
    """

    def __init__(self, pieces: Iterable[Piece], finish_reason: FinishReason) -> None:
        """Keep both."""
        super().__init__(pieces)
        self.finish_reason = finish_reason
