"""Waveforms of one stretch of speech while its tokens come, whatever the tokens are.

Shapes: S samples.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor

CHUNK_FRAMES = 10  # smallest number of frames synthesised at a time: 0.4 s of the paper's units
FIRST_FRAMES = 4  # of the first waveform, so that it is heard soon


def check_stream(chunk_frames: int, lookahead: int | None) -> None:
    """Check the numbers of frames of a stream.

    Raises:
        ValueError: if one is out of its range.
    """
    if chunk_frames < 1 or (lookahead is not None and lookahead < 0):
        raise ValueError(
            f"chunk_frames must be at least 1 and lookahead at least 0, but are {chunk_frames} and {lookahead} instead"
        )


class Chunks:
    """Numbers of frames that are waited for: few for the first waveform, and one more for each that follows.

    So the first is heard soon, and while each is heard the next one can be made, where speech is made at twice the
    speed at which it is heard. Few frames at a time cost more, since their surroundings are computed again.

    Args:
        chunk_frames: smallest number of frames of a waveform, but for the first ones and the last.
        lookahead: number of frames that must follow; None for what is exact.

    Attributes:
        fewest: smallest number of frames of the next waveform.

    Raises:
        ValueError: if a number is out of its range.
    """

    def __init__(self, chunk_frames: int, lookahead: int | None) -> None:
        """Start before the first waveform."""
        check_stream(chunk_frames, lookahead)
        self.chunk_frames = chunk_frames
        self.fewest = min(FIRST_FRAMES, chunk_frames)

    def made(self) -> None:
        """Take note that a waveform was made."""
        self.fewest = min(self.chunk_frames, self.fewest + 1)


class WaveformStream(Protocol):
    """Synthesises one stretch of speech piece by piece while its tokens are generated."""

    def add(self, tokens: Iterable[int], ended: bool = False) -> Tensor:
        """Take new tokens, and return the waveform (S,) that they complete; it is often empty.

        Args:
            tokens: speech token ids that follow those of earlier calls.
            ended: whether these are the last tokens, so that all of the waveform is returned.
        """
        ...


class WaveformAtTheEnd:
    """Waveform of one stretch of speech in one piece, for vocoders that cannot speak a window of frames.

    Args:
        speak: function that returns the waveform (S,) of all tokens of the stretch.
    """

    def __init__(self, speak: Callable[[list[int]], Tensor]) -> None:
        """Start without tokens."""
        self.speak = speak
        self.tokens: list[int] = []

    def add(self, tokens: Iterable[int], ended: bool = False) -> Tensor:
        """Return the waveform (S,) of all tokens at the end of the stretch, and an empty one before."""
        self.tokens += tokens
        return self.speak(self.tokens) if ended else torch.zeros(0)
