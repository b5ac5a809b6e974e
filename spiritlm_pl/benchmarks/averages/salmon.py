"""Averages of SALMon: by part, and the means of parts that papers print as one score."""

from collections.abc import Sequence

from spiritlm_pl.benchmarks.averages.means import by_id, check_variant, grouped, mean_of, share
from spiritlm_pl.benchmarks.items import ChoiceLine, Figure

CONSISTENCY = (
    "sentiment_consistency",
    "speaker_consistency",
    "gender_consistency",
    "bg_domain_consistency",
    "bg_all_consistency",
    "rir_consistency",
)
ALIGNMENT = ("sentiment_alignment", "bg_alignment")
PARTS = (*CONSISTENCY, *ALIGNMENT)
ID = ("part", "id")
MEANS = (("mean_of_consistency", CONSISTENCY), ("mean_of_alignment", ALIGNMENT), ("mean_of_parts", PARTS))


def figures(lines: Sequence[ChoiceLine], variant: str) -> list[Figure]:
    """Return the figures of SALMon.

    "all" is the share of all pairs. A mean of parts is there only if all of its parts are.

    Args:
        lines: results of the pairs.
        variant: way of counting.

    Raises:
        ValueError: if a line lacks this way of counting.
    """
    check_variant(lines, variant)
    parts = {str(part): by_id(inner, variant, ID) for part, inner in grouped(lines, "part").items()}
    found = [share("all", by_id(lines, variant, ID))]
    for name, wanted in MEANS:
        if all(part in parts for part in wanted):
            found.append(mean_of(name, [parts[part] for part in wanted]))
    order = [*(part for part in PARTS if part in parts), *(part for part in parts if part not in PARTS)]
    return found + [share(f"part/{part}", parts[part]) for part in order]
