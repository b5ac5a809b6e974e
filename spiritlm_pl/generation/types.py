"""Pieces of text and speech that prompts and answers consist of.

Shapes: S samples, R runs of equal units.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy.typing as npt
from torch import Tensor

OutputModality: TypeAlias = Literal["text", "speech", "any"]
FinishReason: TypeAlias = Literal["stop", "length"]  # the model ended by itself, or reached its limit
OUTPUT_MODALITIES: tuple[OutputModality, ...] = ("text", "speech", "any")


@dataclass(frozen=True)
class Text:
    """Piece of text.

    Args:
        text: text of the piece.
        tokens: ids that a model generated for the text, which may differ from those of its tokenizer; None for a
            prompt.
    """

    text: str
    tokens: tuple[int, ...] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check the type of the text."""
        if not isinstance(self.text, str):
            raise ValueError(f"text must be a string, but is {self.text!r} instead")


@dataclass(frozen=True, eq=False)
class Speech:
    """Piece of speech as audio, tokens or units. A prompt needs one of them; tokens take precedence, then units.

    Args:
        audio: path of a file, or waveform (S,) or (C, S) as a tensor or an array; None in answers without a vocoder.
        sample_rate: rate of a waveform in Hz; not used for a file, which has its own.
        units: (R,) deduplicated phonetic units; None if they are not known.
        durations: (R,) number of frames that each unit lasts; None if they are not known.
        tokens: ids of the language model, with pitch and style among the units if it has them; None if they are not
            known.
    """

    audio: str | Path | Tensor | npt.NDArray[Any] | None = None
    sample_rate: int = 16_000
    units: Tensor | None = None
    durations: Tensor | None = None
    tokens: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check the sample rate."""
        if self.sample_rate < 1:
            raise ValueError(f"sample_rate must be at least 1 Hz, but is {self.sample_rate} instead")

    @property
    def waveform(self) -> Tensor:
        """Waveform (S,) of an answer.

        Raises:
            ValueError: if the piece has none: without a vocoder, or for a prompt given as a file.
        """
        if not isinstance(self.audio, Tensor):
            raise ValueError(f"audio must be a waveform, but is {self.audio} instead (was a vocoder loaded?)")
        return self.audio


Piece: TypeAlias = Text | Speech


class Answer(list[Piece]):
    """Pieces of an answer in their order, with the reason why it ended.

    Attributes:
        finish_reason: "stop" if the model ended by itself, "length" if it reached the largest number of tokens.
        tokens: ids that the model has generated, without the end; empty where they were not kept.
    """

    def __init__(self, pieces: Iterable[Piece], finish_reason: FinishReason, tokens: Sequence[int] = ()) -> None:
        """Keep the pieces, the reason and the tokens."""
        super().__init__(pieces)
        self.finish_reason, self.tokens = finish_reason, tuple(tokens)
