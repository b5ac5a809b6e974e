"""What every aligner gives: the times of given words in a waveform.

Shapes: S samples.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from spiritlm_pl.corpora.manifest import Word


class AlignmentError(ValueError):
    """Words that cannot be given times; the message says why, in one line."""


@dataclass(frozen=True)
class AlignedWord(Word):
    """A word (or phone) with its times in seconds and, where the aligner tells, how sure it is in [0, 1]."""

    score: float | None = None


@dataclass(frozen=True)
class Alignment:
    """Words and, where known, phones of one utterance, in order of time.

    Times are in seconds from the start of what was aligned: the waveform, or the file's recording.
    """

    words: list[AlignedWord]
    phones: list[AlignedWord] | None = None


class Aligner(Protocol):
    """Finds given words in a waveform."""

    def align(self, waveform: Tensor, words: list[str]) -> Alignment:
        """Times of every word, in order.

        Args:
            waveform: mono (S,), float32 in [-1, 1], at 16 kHz (`corpora.audio.SAMPLE_RATE`).
            words: what is said, as `corpora.transcripts.spoken_words` gives it.

        Returns:
            one aligned word for each of `words`, with the same text, and phones where the aligner has them.

        Raises:
            AlignmentError: if the words cannot be placed, with a reason of one line.
        """
        ...
