"""Picture of benchmarks: a row for each, with a dot and its interval for each model, beside chance."""

from collections.abc import Sequence

from matplotlib.figure import Figure as Plot
from matplotlib.lines import Line2D

from spiritlm_pl.benchmarks.report import REFERENCE, Summary, published_figures
from spiritlm_pl.evaluation.plots import COLOURS

ROW = 0.32  # inches


def plot(summaries: Sequence[Summary], way: str | None = None) -> Plot:
    """Draw the figures of models, with one part of the picture for each unit.

    Args:
        summaries: summaries to draw.
        way: way of counting; None for that of the published figures of each benchmark.
    """
    models = list(dict.fromkeys(summary.model for summary in summaries))
    units = list(dict.fromkeys(summary.unit for summary in summaries))
    names = {unit: list(dict.fromkeys(one.name for one in summaries if one.unit == unit)) for unit in units}
    heights = [ROW * (len(names[unit]) + 2) for unit in units]
    figure = Plot(figsize=(7.5, sum(heights) + 0.6), layout="constrained")
    parts = figure.subplots(len(units), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, unit in zip(parts, units, strict=True):
        rows = {name: place for place, name in enumerate(names[unit])}
        for one in (one for one in summaries if one.unit == unit and one.main(way) is not None):
            shift = 0.5 * ((models.index(one.model) + 1) / (len(models) + 1) - 0.5)
            figured = one.main(way)
            assert figured is not None
            low, high = (figured.value if end is None else end for end in (figured.low, figured.high))
            spread = [[max(0.0, figured.value - low)], [max(0.0, high - figured.value)]]
            colour = COLOURS[models.index(one.model) % len(COLOURS)]
            axes.errorbar(figured.value, rows[one.name] + shift, xerr=spread, fmt="o", color=colour, capsize=2, ms=4)
            if (chance := one.guessed(way)) is not None:
                axes.vlines(chance, rows[one.name] - 0.4, rows[one.name] + 0.4, color="black", linestyle=":", lw=1)
        for name, row in rows.items():
            for value in (value for model, value in published_figures(name, way) if model == REFERENCE):
                axes.plot(value, row, marker="D", color="grey", markerfacecolor="none", ms=5)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="x", linewidth=0.4)
        higher = all(one.higher_is_better for one in summaries if one.unit == unit)
        axes.set_xlabel(unit if higher else f"{unit} (lower is better)")
    coloured = [(name, COLOURS[place % len(COLOURS)]) for place, name in enumerate(models)]
    legend = [
        *(Line2D([], [], linestyle="", marker="o", color=colour, label=name) for name, colour in coloured),
        Line2D([], [], linestyle=":", color="black", label="chance"),
        Line2D([], [], linestyle="", marker="D", color="grey", markerfacecolor="none", label=f"{REFERENCE}, published"),
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure
