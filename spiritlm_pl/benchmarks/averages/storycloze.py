"""Averages of StoryCloze and Topic StoryCloze: over voices for each story, then over stories; by voice."""

from collections.abc import Sequence

from spiritlm_pl.benchmarks.averages.means import by_id, check_variant, per_group, share
from spiritlm_pl.benchmarks.items import ChoiceLine, Figure

ID = ("story",)


def figures(lines: Sequence[ChoiceLine], variant: str) -> list[Figure]:
    """Return the figures of StoryCloze.

    Args:
        lines: results of the stories.
        variant: way of counting.

    Raises:
        ValueError: if a line lacks this way of counting.
    """
    check_variant(lines, variant)
    return [share("all", by_id(lines, variant, ID)), *per_group("voice", lines, "voice", variant, ID)]
