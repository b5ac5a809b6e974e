"""What every aligner does: words that are said, in order, to times.

Shapes: S samples at 16 kHz.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.word_times import AlignmentError

LENGTH_TOLERANCE = 0.1  # seconds; codecs add some hundredths


@dataclass(frozen=True)
class Aligned:
    """Times of an utterance.

    Attributes:
        words: one for each word that is said, in order.
        phones: phones in order, silence left out; empty if the aligner knows none.
        source: file or entry that the times come from and that is of this utterance alone; None if there is none.
        seconds: how long its audio is, as the source says; None if it does not.
    """

    words: list[Word]
    phones: list[Word] = field(default_factory=list)
    source: str | None = None
    seconds: float | None = None


@runtime_checkable
class Aligner(Protocol):
    """Finds words in audio; small and picklable, models are loaded at first use in each process."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def needs_audio(self) -> bool:
        """Whether `align` is to be given a waveform."""

    @property
    def english_only(self) -> bool:
        """Whether it knows English words alone."""

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str], language: str = "en") -> Aligned:
        """Times for `words` (lower case, as said) of a language in a waveform (S,), None without `needs_audio`.

        Raises:
            AlignmentError: if they do not fit.
        """


def check_length(found: Aligned, duration: float) -> None:
    """Raise AlignmentError if times come from a source that is of longer or shorter audio than the utterance's."""
    if found.seconds is not None and abs(found.seconds - duration) > LENGTH_TOLERANCE:
        raise AlignmentError(
            f"times must be of this audio, which lasts {duration:.2f} s, "
            f"but {found.source} is of {found.seconds:.2f} s instead"
        )


def check_words(found: Sequence[Word], expected: Sequence[str]) -> None:
    """Raise AlignmentError unless the words found are those expected, in order of time."""
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
