"""Contract of aligners, which find the times of the words that are said in an utterance, and checks of their results.

Shapes: S samples at 16 kHz.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.word_times import AlignmentError

LENGTH_TOLERANCE = 0.1  # seconds; encoding audio can add some hundredths of a second


@dataclass(frozen=True)
class Aligned:
    """Times of the words and phones of one utterance.

    Attributes:
        words: words with times, one for each word that is said, in order.
        phones: phones with times, in order and without silence; empty if the aligner finds no phones.
        source: file or entry that holds this utterance's times and no other's; None if there is none.
        seconds: length of the utterance's audio in seconds according to the source; None if the source does not tell
            it.
    """

    words: list[Word]
    phones: list[Word] = field(default_factory=list)
    source: str | None = None
    seconds: float | None = None


@runtime_checkable
class Aligner(Protocol):
    """An object that finds the times of words in audio.

    It is sent to worker processes, so it must be small and picklable; it should load models at first use in each
    process.
    """

    @property
    def name(self) -> str:
        """Name of the aligner in reports."""

    @property
    def needs_audio(self) -> bool:
        """Whether `align` must be given a waveform."""

    @property
    def english_only(self) -> bool:
        """Whether the aligner handles English only."""

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str], language: str = "en") -> Aligned:
        """Find the times of the words of one utterance.

        Args:
            cut_id: id of the utterance in the corpus.
            waveform: audio (S,) of the utterance; None if the aligner does not need audio.
            words: the words in lower case, in the order in which they are said.
            language: language of the words, as a code such as "en".

        Raises:
            AlignmentError: if the words cannot be placed.
        """


def check_length(found: Aligned, duration: float) -> None:
    """Check that times come from audio of the utterance's length.

    Args:
        found: times to check; they pass if their source tells no length.
        duration: length of the utterance in seconds.

    Raises:
        AlignmentError: if the two lengths differ by more than 0.1 s.
    """
    if found.seconds is not None and abs(found.seconds - duration) > LENGTH_TOLERANCE:
        raise AlignmentError(
            f"times must be of this audio, which lasts {duration:.2f} s, "
            f"but {found.source} is of {found.seconds:.2f} s instead"
        )


def check_words(found: Sequence[Word], expected: Sequence[str]) -> None:
    """Check that the words found are those expected, in order of time.

    Args:
        found: words with times from an aligner.
        expected: words of the transcript.

    Raises:
        AlignmentError: at the first word that differs or is missing, or whose times run backwards.
    """
    names = [word.text for word in found]
    if names != list(expected):
        at = next(
            (i for i, pair in enumerate(zip(names, expected, strict=False)) if pair[0] != pair[1]),
            min(len(names), len(expected)),
        )
        got, wanted = (" ".join(row[at : at + 3]) or "the end" for row in (names, list(expected)))
        if at == len(names):
            raise AlignmentError(f"the words do not fit the audio: they are lost from word {at + 1} on, {wanted!r}")
        raise AlignmentError(f"word {at + 1} must be {wanted!r}, but is {got!r} instead")
    for before, after in zip(found, found[1:], strict=False):
        if after.start < before.start or before.end < before.start:
            raise AlignmentError(f"times must not run backwards, but do at {after.text!r}")
