"""What is done with the speech of a recording before it is stored: joined, cut, paused.

Shapes: S samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from spiritlm_pl.benchmarks.make.speaking import Utterance
from spiritlm_pl.corpora.audio import SAMPLE_RATE

FADE = 0.005  # seconds over which a cut goes to zero, so that it does not click


class Treatment(Protocol):
    """A treatment: a frozen dataclass, since it is sent to other processes."""

    def __call__(self, parts: Sequence[Utterance]) -> Tensor:
        """Turn the speech of the parts into one waveform (S,)."""
        ...


def faded(waveform: Tensor, start: bool, end: bool) -> Tensor:
    """Return a waveform (S,) that rises from zero at its start, or falls to zero at its end, or both."""
    size = min(len(waveform), round(FADE * SAMPLE_RATE))
    ramp, result = torch.linspace(0, 1, size), waveform.clone()
    if start:
        result[:size] *= ramp
    if end and size:
        result[-size:] *= ramp.flip(0)
    return result


@dataclass(frozen=True)
class Joined:
    """Parts one after the other.

    Attributes:
        pause: seconds of silence between them, beside the margins that each part has.
    """

    pause: float = 0.05

    def __call__(self, parts: Sequence[Utterance]) -> Tensor:
        """Join the parts."""
        gap = torch.zeros(round(self.pause * SAMPLE_RATE))
        pieces = [piece for part in parts for piece in (gap, part.waveform)]
        return torch.cat(pieces[1:])


@dataclass(frozen=True)
class Words:
    """Some words of an utterance, cut out at their ends.

    Attributes:
        start: index of the first word.
        end: index of the word after the last one; None for the end of the utterance.
    """

    start: int = 0
    end: int | None = None

    def __call__(self, parts: Sequence[Utterance]) -> Tensor:
        """Cut the words out of the only part."""
        [part] = parts
        whole = self.end is None or self.end >= len(part.words)
        first = round(part.words[self.start].start * SAMPLE_RATE) if self.start else 0
        last = len(part.waveform) if whole else round(part.words[self.end or 0].start * SAMPLE_RATE)
        return faded(part.waveform[first:last], start=self.start > 0, end=not whole)


@dataclass(frozen=True)
class Paused:
    """An utterance with a pause put into it.

    Attributes:
        word: index of the word before which the pause is; or in which it is, see `inside`.
        inside: share of that word's time after which the pause comes; 0 puts it before the word.
        seconds: length of the pause.
    """

    word: int
    inside: float = 0.0
    seconds: float = 0.4

    def __call__(self, parts: Sequence[Utterance]) -> Tensor:
        """Put the pause into the only part."""
        [part] = parts
        word = part.words[self.word]
        place = round((word.start + self.inside * (word.end - word.start)) * SAMPLE_RATE)
        before, after = part.waveform[:place], part.waveform[place:]
        gap = torch.zeros(round(self.seconds * SAMPLE_RATE))
        return torch.cat([faded(before, start=False, end=True), gap, faded(after, start=True, end=False)])
