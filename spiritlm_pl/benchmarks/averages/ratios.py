"""Figures of answered prompts: ratios of sums over items, such as wrong words out of all words."""

from collections.abc import Sequence

from spiritlm_pl.benchmarks.items import AnswerLine, Figure
from spiritlm_pl.evaluation.interval import ratio_estimate, wilson_interval

PERCENT = 100.0


def ratio(name: str, lines: Sequence[AnswerLine], way: str, scale: float = PERCENT) -> Figure | None:
    """Return the ratio of sums of a way of counting over the lines that have it.

    The interval is Wilson's where every item counts 0 or 1 out of 1, else from a bootstrap over items.

    Args:
        name: name of the figure.
        lines: results of items.
        way: way of counting, a key of `AnswerLine.counts`.
        scale: factor of the ratio, 100 for percent.

    Returns:
        The figure; None if nothing was counted.
    """
    counts = [line.counts[way] for line in lines if way in line.counts]
    if counts and all(whole == 1 and part in (0, 1) for part, whole in counts):
        right = sum(part for part, _ in counts)
        low, high = wilson_interval(right, len(counts))
        return Figure(name, scale * right / len(counts), scale * low, scale * high, len(counts))
    found = ratio_estimate([part for part, _ in counts], [whole for _, whole in counts], scale)
    return None if found is None else Figure(name, found.value, found.low, found.high, found.count)


def ratios(lines: Sequence[AnswerLine], label: str | None = None) -> dict[str, list[Figure]]:
    """Return the figure of all items in every way of counting, and those by the values of a label.

    Args:
        lines: results of items.
        label: label by whose values further figures are told, such as "split"; None for none.
    """
    found: dict[str, list[Figure]] = {}
    for way in dict.fromkeys(way for line in lines for way in line.counts):
        values = [] if label is None else sorted({str(line.labels[label]) for line in lines if label in line.labels})
        groups = [[line for line in lines if str(line.labels.get(label or "")) == value] for value in values]
        named = zip(("all", *(f"{label}/{value}" for value in values)), (lines, *groups), strict=True)
        figures = [ratio(name, some, way) for name, some in named]
        found[way] = [figure for figure in figures if figure is not None]
    return {way: figures for way, figures in found.items() if figures}
