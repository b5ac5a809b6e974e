"""Averages of sWUGGY: over voices for each word, then over words; by frequency, length and voice."""

from collections.abc import Sequence

from spiritlm_pl.benchmarks.averages.means import by_id, check_variant, per_group, share
from spiritlm_pl.benchmarks.items import ChoiceLine, Figure

ID = ("id",)
BANDS = (("oov", 0, 1), ("1_to_4", 1, 5), ("5_to_19", 5, 20), ("20_to_99", 20, 100), ("100_and_more", 100, None))


def figures(lines: Sequence[ChoiceLine], variant: str) -> list[Figure]:
    """Return the figures of sWUGGY.

    "all" has words in and out of the vocabulary together, as the Spirit LM paper counts. "in_vocab" has those with a
    frequency of 1 and more, which is the mean of the bands but "oov", weighted by their words. "frequency/unknown" has
    the words whose frequency is not told; they are in "all" alone. Figures of labels that no line has are left out.

    Args:
        lines: results of the pairs.
        variant: way of counting.

    Raises:
        ValueError: if a line lacks this way of counting.
    """
    check_variant(lines, variant)
    found = [share("all", by_id(lines, variant, ID))]
    known = [(line, frequency) for line in lines if (frequency := line.labels.get("frequency")) is not None]
    if known:
        chosen = {"in_vocab": [line for line, frequency in known if float(frequency) >= 1]}
        for name, first, end in BANDS:
            inside = [line for line, one in known if float(one) >= first and (end is None or float(one) < end)]
            chosen[f"frequency/{name}"] = inside
        chosen["frequency/unknown"] = [line for line in lines if line.labels.get("frequency") is None]
        found += [share(name, by_id(inner, variant, ID)) for name, inner in chosen.items() if inner]
    found += per_group("length", lines, "length", variant, ID)
    return found + per_group("voice", lines, "voice", variant, ID)
