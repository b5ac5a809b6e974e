"""Utterances in which somebody else talks: their audio says more than their text.

Utterances of one recording may overlap if they are of the same speaker: then they are stretches of one text, such as
windows. Where nobody knows the speakers, nobody knows that either: these stay, and a line tells how many there are.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spiritlm_pl.contracts.batches import Skipped
from spiritlm_pl.corpora.ingest import Utterance
from spiritlm_pl.corpora.text.transcripts import clean_transcript

logger = logging.getLogger(__name__)
MAX_OVERLAP = 0.05  # seconds by which boundaries may be off


@dataclass(frozen=True)
class Span:
    """A stretch of a recording in which somebody talks.

    Args:
        id: of what is said; the same for windows of it.
        source: recording and channel.
        speaker: who talks; empty where nobody knows.
        start: in seconds of the recording.
        end: in seconds of the recording.
    """

    id: str
    source: tuple[object, int | None]
    speaker: str
    start: float
    end: float

    def shares_time_with(self, other: "Span", most: float) -> bool:
        """Whether they overlap for more than `most` seconds, and are not known to be of one speaker."""
        same = other.id == self.id or (self.speaker != "" and other.speaker == self.speaker)
        return not same and min(self.end, other.end) - max(self.start, other.start) > most


def says_something(text: str | None) -> bool:
    """Whether somebody talks where this is the transcript; None is speech that nobody wrote down."""
    return not isinstance(text, str) or any(character.isalnum() for character in clean_transcript(text))


def disturbances(stored: Sequence[Span], said: Iterable[Span], most: float) -> dict[int, Span]:
    """Places of stretches in which another speaker talks, each with what that one says.

    Args:
        stored: what is to be stored.
        said: all that is said, `stored` included.
        most: seconds of it that do not count.
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
    """Why an utterance in which another speaker talks is left out."""
    return (
        f"speech must be of one speaker, but {other.speaker} talks, too, in {other.id}, for more than {most:g} s: "
        "--max-overlap lets it in"
    )


def without_disturbed(utterances: Sequence[Utterance], most: float) -> tuple[list[Utterance], list[Skipped]]:
    """Utterances in which no other speaker talks, and those in which one does.

    Args:
        utterances: of files, with the time of each.
        most: seconds for which another one may talk.
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
