"""Waveforms of one stretch of speech while its tokens come, whatever the tokens are.

Shapes: S samples.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor

CHUNK_FRAMES = 10  # smallest number of frames synthesised at a time: 0.4 s of the paper's units


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


def check_stream(chunk_frames: int, lookahead: int | None) -> None:
    """Check the numbers of frames of a stream.

    Raises:
        ValueError: if one is out of its range.
    """
    if chunk_frames < 1 or (lookahead is not None and lookahead < 0):
        raise ValueError(
            f"chunk_frames must be at least 1 and lookahead at least 0, but are {chunk_frames} and {lookahead} instead"
        )
