"""Tables of summaries: models side by side, beside the published figures of the same benchmarks."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from spiritlm_pl.benchmarks.averages.compare import Comparison, compare, compare_ratios
from spiritlm_pl.benchmarks.contract import Line
from spiritlm_pl.benchmarks.items import AnswerLine, ChoiceLine, Figure
from spiritlm_pl.benchmarks.results import SUMMARY_FILE, summarised_lines
from spiritlm_pl.evaluation.tables import NOTHING, Figures
from spiritlm_pl.registry import find_all

REFERENCE = "Spirit LM Base 7B"  # the published model that ours are shown beside

CHANCE = "chance"  # name of a figure that tells what guessing gives, where it depends on the items
EMPTY = "empty"  # way of counting answers of nothing
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
        unit: what the figures are, such as "accuracy, %".
        chance: figure of a model that guesses; None if there is none.
        asked: hash of all that was asked; None if an earlier version has written the summary.
        judges: hashes of what answers were judged by, by option.
        items: hash of the contents of all items; None as for `asked`.
        higher_is_better: whether a higher figure is a better one.
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
    unit: str = "accuracy, %"
    chance: float | None = 50.0
    asked: str | None = None
    judges: dict[str, str] | None = None
    items: str | None = None
    higher_is_better: bool = True

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
                found.get("unit", cls.unit),  # the first summaries had neither
                found.get("chance", cls.chance),
                found.get("asked"),
                found.get("judges"),
                found.get("items"),
                found.get("higher_is_better", cls.higher_is_better),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} must be a summary of a benchmark, but is not: {error}") from error

    def main(self, way: str | None = None) -> Figure | None:
        """Return the benchmark's own figure in a way of counting, by default the published one; None without it."""
        found = self.figures.get(way or self.published)
        return found[0] if found else None

    def measure(self, way: str | None = None) -> str:
        """Return what the figure is and how it is counted, such as "accuracy, % (mean)", and if lower is better."""
        return f"{self.unit} ({way or self.published}){'' if self.higher_is_better else ', lower is better'}"

    def guessed(self, way: str | None = None) -> float | None:
        """Return the figure of a model that guesses: as measured on these items, or else the benchmark's own."""
        measured = (one.value for one in self.figures.get(way or self.published, ()) if one.name == CHANCE)
        return next(measured, self.chance)


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
    """Build the table of benchmarks by models, with the published figures of each benchmark.

    Args:
        summaries: summaries to show.
        way: way of counting; None for that of the published figures of each benchmark.

    Raises:
        ValueError: if two folders hold one benchmark of models with one name.
    """
    found: dict[tuple[str, str], Summary] = {}
    for summary in summaries:
        other = found.setdefault((summary.name, summary.model), summary)
        if other is not summary:
            raise ValueError(
                f"models must have names of their own, but {other.folder} and {summary.folder} are both of "
                f"{summary.model!r}: run one of them with --model-name"
            )
    models = list(dict.fromkeys(summary.model for summary in summaries))
    first = {summary.name: summary for summary in reversed(summaries)}
    names = list(dict.fromkeys(summary.name for summary in summaries))
    rows = []
    for name in names:
        shown = [found.get((name, model)) for model in models]
        cells = [NOTHING if one is None else _cell(one.main(way)) for one in shown]
        guesses = [one.guessed(way) for one in shown if one is not None]
        chance = "; ".join(dict.fromkeys(NOTHING if one is None else f"{one:.3g}" for one in guesses))
        reference = next((figure for model, figure in published_figures(name, way) if model == REFERENCE), None)
        paper = NOTHING if reference is None else f"{reference:.1f}"
        rows.append([name, *cells, chance, paper, first[name].measure(way)])
    columns = ["benchmark", *models, "chance", f"{REFERENCE}*", "figure"]
    return Figures("Benchmarks", columns, rows, _notes(summaries))


def published_table(summaries: Sequence[Summary], way: str | None = None) -> Figures:
    """Build the table of all published figures of the benchmarks that summaries are of.

    Args:
        summaries: summaries of the benchmarks.
        way: way of counting; None for all of them.
    """
    rows = []
    for name in dict.fromkeys(summary.name for summary in summaries):
        found = published_figures(name, way)
        if found:
            rows.append([name, "; ".join(f"{figure:.1f} {model}" for model, figure in found)])
    shown = {row[0] for row in rows}
    sources = [
        f"{row['model']} ({', '.join(own)}): {row['source']}"
        for row in published()
        if (own := [name for name in row["figures"] if name in shown])
        and way in (None, *(row["ways"].get(name, row["ways"].get("all")) for name in own))
    ]
    return Figures("Published figures", ["benchmark", "figure and model"], rows, sources)


def _notes(summaries: Sequence[Summary]) -> list[str]:
    """Return sentences on what a reader must know of the figures: intervals, skipped items, different items."""
    notes = ["Figures have their 95 % intervals; * is published, of the benchmark's own data."]
    notes += [
        f"{one.model}, {one.name}: {one.num_skipped} of {one.num_scored + one.num_skipped} items were skipped"
        for one in summaries
        if one.num_skipped
    ]
    notes += [
        f"{one.model}, {one.name}: {empty.value:.1f} % of the answers are empty"
        for one in summaries
        if (empty := one.main(EMPTY)) is not None and empty.value
    ]
    for name in dict.fromkeys(summary.name for summary in summaries):  # figures of other items are no comparison
        same = [one for one in summaries if one.name == name]
        runs = {one.model: f"{one.num_scored} of {one.num_read} items, {spelt(one.options)}" for one in same}
        if len({one.asked for one in same}) > 1 and all(one.asked for one in same):
            runs = {one.model: f"{runs[one.model]}, content {one.asked}" for one in same}
        if len(set(runs.values())) > 1:
            described = "; ".join(f"{model}: {run}" for model, run in runs.items())
            notes.append(f"{name} is not of the same items: {described}")
    return notes


def spelt(options: Mapping[str, Any]) -> str:
    """Spell options for a sentence, such as "split: test, shots: 3"."""
    text = yaml.safe_dump(dict(options), default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**6)
    return text.strip().removeprefix("{").removesuffix("}") or "no options"


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
            try:
                found = _compared(one, other, counted)
            except ValueError as error:  # the models have no item in common, say
                rows.append([one.name, other.model, NOTHING, str(error), NOTHING, NOTHING])
                continue
            difference = Figure("difference", found.difference, found.low, found.high, found.count)
            how = f"{found.better} higher, {found.worse} lower of {found.count}"
            if found.unpaired:  # by which the difference may be another than that of the figures
                how += f"; {found.unpaired} of one model alone are left out"
            rows.append([one.name, other.model, _cell(difference), how, f"{found.p_value:.2g}", found.test])
    columns = ["benchmark", "beside", "more", "items", "p", "test"]
    notes = [
        "How much more the first model has, in percentage points; mcnemar is McNemar's exact test, bootstrap one over "
        "items, and over draws of shots where there are several."
    ]
    return Figures(f"{first} beside the others", columns, rows, notes)


def _compared(one: Summary, other: Summary, way: str) -> Comparison:
    """Compare two models on one benchmark.

    Raises:
        ValueError: if the figures are of other items, or of a kind that is not compared.
    """
    if one.options != other.options:  # items of two splits may have the same ids
        raise ValueError(f"not the same items: {spelt(one.options)} and {spelt(other.options)}")
    if one.judges and other.judges and one.judges != other.judges:
        changed = ", ".join(key for key in one.judges | other.judges if one.judges.get(key) != other.judges.get(key))
        raise ValueError(f"not judged alike: {changed} held something else")
    ours, theirs = (summarised_lines(summary.folder, summary.items) for summary in (one, other))
    _check_asked(ours, theirs)
    benchmark = find_all("benchmarks").get(one.name)
    own = getattr(benchmark, "compared", None)  # of benchmarks whose figures are no plain means or ratios
    if own is not None:
        compared: Comparison = own(ours, theirs, way)
        return compared
    ids = getattr(benchmark, "id_labels", ())
    if any(way in line.get("scores", ()) for line in ours):
        first, second = (
            [ChoiceLine.from_dict(line) for line in lines if way in line.get("scores", ())] for lines in (ours, theirs)
        )
        return compare(first, second, way, ids)
    if one.unit.endswith("%") and any(way in line.get("counts", ()) for line in ours):
        mine, others = ([AnswerLine.from_dict(line) for line in lines if "counts" in line] for lines in (ours, theirs))
        return compare_ratios(mine, others, way, ids)
    raise ValueError(f"figures of {one.unit} are not tested")


def _check_asked(ours: Sequence[Line], theirs: Sequence[Line]) -> None:
    """Raise a ValueError if lines of one id are of other items."""
    others = {line["id"]: line for line in theirs}
    shared = [(line, others[line["id"]]) for line in ours if line["id"] in others]
    differing = [line["id"] for line, other in shared if not _asked_alike(line, other)]
    if differing:
        raise ValueError(f"not the same items: {len(differing)} of {len(shared)} differ, such as {differing[0]}")


def _asked_alike(line: Line, other: Line) -> bool:
    if "asked" in line and "asked" in other:
        return bool(line["asked"] == other["asked"])
    texts, others = line.get("texts", {}), other.get("texts", {})  # an earlier version told no more
    told = [name for name in ("reference", "prompt") if name in texts and name in others]
    return all(texts[name] == others[name] for name in told)


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return NOTHING
    if figure.low is None or figure.high is None:
        return f"{figure.value:.1f}"
    return f"{figure.value:.1f} ({figure.low:.1f} to {figure.high:.1f})"


def published_figures(name: str, way: str | None) -> list[tuple[str, float]]:
    """Return models with their published figures of a benchmark; those that count in another way are left out."""
    found = []
    for row in published():
        value = row["figures"].get(name)
        if value is not None and way in (None, row["ways"].get(name, row["ways"].get("all"))):
            found.append((str(row["model"]), sum(value) / len(value) if isinstance(value, list) else float(value)))
    return found
