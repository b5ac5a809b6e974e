"""Count of what was left out of a corpus of texts: by reason, with one example each, so that nothing is lost unsaid."""

from collections import Counter
from collections.abc import Mapping

from spiritlm_pl.corpora.text_files.places import with_line


class Skipped:
    """Documents and files that were left out, by reason.

    Attributes:
        counts: number of each reason.
        examples: one place of each reason, the first in alphabetical order, so that it does not depend on the order of
            reading.
    """

    def __init__(self, counts: Mapping[str, int] | None = None, examples: Mapping[str, str] | None = None) -> None:
        """Start from counts and examples, of which there are none if they are left out."""
        self.counts: Counter[str] = Counter(counts)
        self.examples: dict[str, str] = dict(examples or {})

    def add(self, reason: str, place: str, number: int = 1) -> None:
        """Count something that is left out.

        Args:
            reason: what is wrong with it, in a few words.
            place: where it is, for the example.
            number: how many are left out.
        """
        self.counts[reason] += number
        self.examples[reason] = min(self.examples.get(reason, place), place)

    def merge(self, other: "Skipped") -> None:
        """Add the counts of another reader."""
        for reason, number in other.counts.items():
            self.add(reason, other.examples[reason], number)

    @property
    def total(self) -> int:
        """Number of all that was left out."""
        return self.counts.total()

    def lines(self) -> list[str]:
        """Return one line for each reason, the most frequent first."""
        ordered = sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return [f"{number:,} x {reason}, such as {with_line(self.examples[reason])}" for reason, number in ordered]
