"""Averages of ProsAudit: over voices for each pair, then over pairs, or over types."""

from collections.abc import Sequence

from spiritlm_pl.benchmarks.averages.means import by_id, check_variant, grouped, mean_of, per_group, share
from spiritlm_pl.benchmarks.items import ChoiceLine, Figure

ID = ("type", "id")


def figures(lines: Sequence[ChoiceLine], variant: str) -> list[Figure]:
    """Return the figures of ProsAudit: all pairs, the mean of the types, and each type and voice.

    Args:
        lines: results of the pairs.
        variant: way of counting.

    Raises:
        ValueError: if a line lacks this way of counting.
    """
    check_variant(lines, variant)
    types = grouped(lines, "type")
    found = [share("all", by_id(lines, variant, ID))]
    if types:
        found.append(mean_of("mean_of_types", [by_id(inner, variant, ID) for inner in types.values()]))
    return [*found, *per_group("type", lines, "type", variant, ID), *per_group("voice", lines, "voice", variant, ID)]
