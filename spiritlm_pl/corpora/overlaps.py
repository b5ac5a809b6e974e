"""Utterances in which another speaker talks, so that their audio says more than their text.

Utterances of the same speaker in one recording may overlap: they are stretches of one text, such as windows. If the
speakers are not known, overlapping utterances are kept, and their number is logged.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.ingest import Utterance
from spiritlm_pl.corpora.text.transcripts import clean_transcript

logger = logging.getLogger(__name__)
MAX_OVERLAP = 0.05  # seconds by which the boundaries of utterances may be imprecise


@dataclass(frozen=True)
class Span:
    """A stretch of a recording in which somebody talks.

    Args:
        id: id of the utterance; windows of one utterance share it.
        source: the recording and the channel.
        speaker: name of the speaker; empty if it is not known.
        start: start in seconds of the recording.
        end: end in seconds of the recording.
    """

    id: str
    source: tuple[object, int | None]
    speaker: str
    start: float
    end: float

    def shares_time_with(self, other: "Span", most: float) -> bool:
        """Return whether two spans overlap for more than `most` seconds and are not known to be of one speaker."""
        same = other.id == self.id or (self.speaker != "" and other.speaker == self.speaker)
        return not same and min(self.end, other.end) - max(self.start, other.start) > most


def says_something(text: str | None) -> bool:
    """Return whether a stretch with this transcript contains speech; None stands for speech without a transcript."""
    return not isinstance(text, str) or any(character.isalnum() for character in clean_transcript(text))


def disturbances(stored: Sequence[Span], said: Iterable[Span], most: float) -> dict[int, Span]:
    """Find the stretches in which another speaker talks.

    Args:
        stored: stretches that are to be stored.
        said: all stretches in which somebody talks, including those of `stored`.
        most: longest overlap in seconds that does not count.

    Returns:
        The other speaker's stretch by the index of the disturbed stretch in `stored`.
    """
    by_source: dict[tuple[object, int | None], list[tuple[int | None, Span]]] = defaultdict(list)
    for place, span in [*enumerate(stored), *((None, span) for span in said)]:
        by_source[span.source].append((place, span))
    found: dict[int, Span] = {}
    unsure: set[int] = set()
    for spans in by_source.values():
        going_on: list[tuple[int | None, Span]] = []
        for place, span in sorted(spans, key=lambda item: item[1].start):
            going_on = [item for item in going_on if item[1].end > span.start]
            for at, other in going_on:
                if (at is None) != (place is None) and span.shares_time_with(other, most):
                    index, talking = (at, span) if place is None else (place, other)
                    assert index is not None
                    if span.speaker and other.speaker:
                        found.setdefault(index, talking)
                    else:
                        unsure.add(index)
            going_on.append((place, span))
    if unsure - set(found):
        logger.warning(
            "%d utterances overlap others of their recording, and nobody knows whether the speakers are the same",
            len(unsure - set(found)),
        )
    return found


def reason_of(other: Span, most: float) -> str:
    """Return the reason why an utterance in which another speaker talks is left out."""
    return (
        f"speech must be of one speaker, but {other.speaker} talks, too, in {other.id}, for more than {most:g} s: "
        "--max-overlap lets it in"
    )


def without_disturbed(utterances: Sequence[Utterance], most: float) -> tuple[list[Utterance], list[Skipped]]:
    """Separate utterances in which no other speaker talks from those in which one does.

    Args:
        utterances: utterances with the times that they have in their files.
        most: longest time in seconds for which another speaker may talk.
    """
    ends = [math.inf if u.duration is None else u.start + u.duration for u in utterances]
    spans = ((u.id, (u.path, u.channel), u.speaker, u.start) for u in utterances)
    stored = [Span(*span, end) for span, end in zip(spans, ends, strict=True)]
    said = [span for span, utterance in zip(stored, utterances, strict=True) if says_something(utterance.text)]
    found = disturbances(stored, said, most)
    kept = [utterance for place, utterance in enumerate(utterances) if place not in found]
    return kept, [
        Skipped(utterances[place].id, str(utterances[place].path), reason_of(other, most))
        for place, other in sorted(found.items())
    ]
