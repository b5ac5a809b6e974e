"""Tables of summaries: models side by side, beside the published figures of the same benchmarks."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spiritlm_pl.benchmarks.averages.compare import compare
from spiritlm_pl.benchmarks.items import ChoiceLine, Figure
from spiritlm_pl.benchmarks.results import SUMMARY_FILE, read_lines
from spiritlm_pl.evaluation.tables import NOTHING, Figures
from spiritlm_pl.registry import find_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Plot

MOST_COLUMNS = 4  # ways of counting that stand side by side if there are fewer figures


@dataclass(frozen=True)
class Summary:
    """Summary of one benchmark and one model, as a run has written it.

    Attributes:
        name: name of the benchmark.
        model: name of the model.
        figures: figures by way of counting; the first of each is the benchmark's own.
        published: way of counting of the published figures.
        num_scored: number of items that were scored.
        num_skipped: number of items that could not be scored.
        num_read: number of items that the data has, of which a run with a limit scores only some.
        options: options of the reader, such as the split.
        folder: folder of the results.
    """

    name: str
    model: str
    figures: dict[str, list[Figure]]
    published: str
    num_scored: int
    num_skipped: int
    num_read: int
    options: dict[str, Any]
    folder: Path

    @classmethod
    def read(cls, file: Path) -> "Summary":
        """Read a summary.

        Raises:
            ValueError: if the file is none.
        """
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            figures = {way: [Figure(**one) for one in some] for way, some in found["figures"].items()}
            return cls(
                found["benchmark"],
                found["model"],
                figures,
                found["published"],
                found["num_scored"],
                found["num_skipped"],
                found["num_read"],
                found["options"],
                file.parent,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} must be a summary of a benchmark, but is not: {error}") from error

    def main(self, way: str | None = None) -> Figure | None:
        """Return the benchmark's own figure in a way of counting, by default the published one; None without it."""
        found = self.figures.get(way or self.published)
        return found[0] if found else None


def read_summaries(folders: Iterable[str | Path]) -> list[Summary]:
    """Read all summaries in folders and below them.

    Raises:
        ValueError: if a folder holds none.
    """
    summaries: list[Summary] = []
    for folder in map(Path, folders):
        found = sorted(folder.rglob(SUMMARY_FILE))
        if not found:
            raise ValueError(f"RESULTS must be folders that spiritlm benchmark run has written, but {folder} is not")
        summaries += map(Summary.read, found)
    return summaries


@cache
def published() -> tuple[dict[str, Any], ...]:
    """Read the published figures, each row with `model`, `source`, `ways` and `figures`."""
    text = (files("spiritlm_pl.benchmarks") / "published.yaml").read_text(encoding="utf-8")
    return tuple(yaml.safe_load(text))


def overview(summaries: Sequence[Summary], way: str | None = None) -> Figures:
    """Build the table of models by benchmarks, with published rows below.

    Args:
        summaries: summaries to show.
        way: way of counting; None for that of the published figures of each benchmark.

    Raises:
        ValueError: if two folders hold one benchmark of models with one name.
    """
    names = list(dict.fromkeys(summary.name for summary in summaries))
    models = list(dict.fromkeys(summary.model for summary in summaries))
    found: dict[tuple[str, str], Summary] = {}
    for summary in summaries:
        other = found.setdefault((summary.model, summary.name), summary)
        if other is not summary:
            raise ValueError(
                f"models must have names of their own, but {other.folder} and {summary.folder} are both of "
                f"{summary.model!r}: run one of them with --name"
            )
    rows = []
    for model in models:
        shown = [found.get((model, name)) for name in names]
        rows.append([model, *(_cell(one.main(way)) if one is not None else NOTHING for one in shown)])
    rows += [[f"{row['model']} (published)", *cells] for row in published() if (cells := _published(row, names, way))]
    skipped = [
        f"{one.model}, {one.name}: {one.num_skipped} of {one.num_scored + one.num_skipped} items were skipped"
        for one in summaries
        if one.num_skipped
    ]
    ways = {way or found_way for found_way in (summary.published for summary in summaries)}
    for name in names:  # figures of other items are no comparison
        runs = {
            one.model: f"{one.num_scored} of {one.num_read} items, options {one.options}"
            for one in summaries
            if one.name == name
        }
        if len(set(runs.values())) > 1:
            skipped.append(
                f"{name} is not of the same items: {'; '.join(f'{model}: {run}' for model, run in runs.items())}"
            )
    notes = [f"Accuracy in % with its 95 % interval, chance 50; counted by {', '.join(sorted(ways))}.", *skipped]
    return Figures("Benchmarks", ["model", *names], rows, notes)


def details(summary: Summary, ways: Sequence[str] | None = None) -> Figures:
    """Build the table of all figures of a summary, a column for each way of counting.

    Few figures in many ways have a row for each way instead.

    Args:
        summary: summary of a benchmark and a model.
        ways: ways of counting to show, as far as the summary has them; None for all.
    """
    ways = [way for way in summary.figures if ways is None or way in ways]
    names = list(dict.fromkeys(figure.name for way in ways for figure in summary.figures[way]))
    by_name = {way: {figure.name: figure for figure in figures} for way, figures in summary.figures.items()}
    rows = []
    if len(names) < len(ways) > MOST_COLUMNS:
        for way in ways:
            count = max(figure.count for figure in by_name[way].values())
            rows.append([way, str(count), *(_cell(by_name[way].get(name)) for name in names)])
        return Figures(f"{summary.name}: {summary.model}", ["counted by", "count", *names], rows)
    for name in names:
        counts = [by_name[way][name].count for way in ways if name in by_name[way]]
        rows.append([name, str(max(counts)), *(_cell(by_name[way].get(name)) for way in ways)])
    return Figures(f"{summary.name}: {summary.model}", ["figure", "count", *ways], rows)


def comparisons(summaries: Sequence[Summary], way: str | None = None) -> Figures:
    """Build the table of paired tests of the first model against the others, on the items that both have.

    Args:
        summaries: summaries of at least two models.
        way: way of counting; None for that of the published figures of each benchmark.
    """
    first = summaries[0].model
    rows = []
    for one in (summary for summary in summaries if summary.model == first):
        for other in (summary for summary in summaries if summary.model != first and summary.name == one.name):
            counted = way or one.published
            if counted not in one.figures or counted not in other.figures:
                continue
            ids = getattr(find_all("benchmarks").get(one.name), "id_labels", ())
            try:
                if one.options != other.options:  # items of two splits may have the same ids
                    raise ValueError(f"not the same items: options {one.options} and {other.options}")
                found = compare(_choice_lines(one, counted), _choice_lines(other, counted), counted, ids)
            except ValueError as error:  # the models have no item in common, say
                rows.append([one.name, other.model, NOTHING, str(error), NOTHING, NOTHING])
                continue
            difference = Figure("difference", found.difference, found.low, found.high, found.count)
            how = f"{found.better} better, {found.worse} worse of {found.count}"
            rows.append([one.name, other.model, _cell(difference), how, f"{found.p_value:.2g}", found.test])
    columns = ["benchmark", "beside", "points more", "items", "p", "test"]
    notes = ["Points are percent of the items; mcnemar is McNemar's exact test, bootstrap one over items."]
    return Figures(f"{first} beside the others", columns, rows, notes)


def _choice_lines(summary: Summary, way: str) -> list[ChoiceLine]:
    """Return the lines of pairs that have a way of counting; those of other kinds of benchmarks are left out."""
    lines = read_lines(summary.folder).values()
    return [ChoiceLine.from_dict(line) for line in lines if way in line.get("scores", ())]


def plot(summaries: Sequence[Summary], way: str | None = None) -> "Plot":
    """Draw the accuracy of each model on each benchmark, beside chance."""
    from spiritlm_pl.evaluation.plots import comparison_figure

    models = list(dict.fromkeys(summary.model for summary in summaries))
    by_place = {(one.model, one.name): figure for one in summaries if (figure := one.main(way)) is not None}
    every = dict.fromkeys(one.name for one in summaries)
    names = [name for name in every if all((model, name) in by_place for model in models)]
    shown = {model: [by_place[model, name] for name in names] for model in models}
    return comparison_figure(
        [name.replace("_", "\n", 1) for name in names],
        {model: [one.value for one in figures] for model, figures in shown.items()},
        {model: [(_or(one.low, one), _or(one.high, one)) for one in figures] for model, figures in shown.items()},
        references=[50.0] * len(names),
        ylabel="right hypothesis preferred, %",
        title="Benchmarks",
    )


def _or(end: float | None, figure: Figure) -> float:
    return figure.value if end is None else end


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return NOTHING
    if figure.low is None or figure.high is None:
        return f"{figure.value:.1f}"
    return f"{figure.value:.1f} ({figure.low:.1f} to {figure.high:.1f})"


def _published(row: dict[str, Any], names: Sequence[str], way: str | None) -> list[str]:
    """Return the cells of a published row; nothing if it has none of the benchmarks, or counts in another way."""
    counted = row["ways"].get("all")
    if way is not None and counted != way:
        return []
    found = [row["figures"].get(name) for name in names]
    values = [sum(one) / len(one) if isinstance(one, list) else one for one in found]
    shown = [NOTHING if value is None else f"{value:.1f}" for value in values]
    return shown if any(one is not None for one in found) else []
