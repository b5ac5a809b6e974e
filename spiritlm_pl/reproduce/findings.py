"""What the results say: estimates of differences between conditions, and verdicts on the paper's findings.

The rule, which was set before any result was seen: a statement is "seen" if the 95 % interval of the difference lies
above 0, "opposite" if it lies below, and else "not seen"; with fewer than `FEWEST_SEEDS` pairs of runs it is "too few
runs". A finding is what its main statements are: "too few runs" if one of them is, "seen" if all are seen, "opposite"
if one is opposite, else "not seen"; one without main statements, which the paper does not have, is "figures only".

Shapes: S seeds, N items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import yaml

from spiritlm_pl.evaluation.paired import PairedEstimate, Values, crossed_mean
from spiritlm_pl.reproduce.results import Result

FEWEST_SEEDS = 5  # with three, simulated intervals cover 91 % where seeds matter, and 94 to 98 with five
CHANCE = "chance"  # in place of a condition: half of the items
Verdict = Literal["seen", "not seen", "opposite", "too few runs", "figures only"]
Runs = Mapping[str, Mapping[int, Result]]  # results by condition and seed
Figures = dict[str, float]  # by item


@dataclass(frozen=True)
class Told:
    """A statement with what the results say of it.

    Attributes:
        text: what is compared.
        main: whether the statement decides the verdict of its finding.
        estimate: estimate of the difference, in the direction of the statement; None without a pair of runs.
        published: figures of the paper in the order of the difference, the larger one of the statement first; None
            where it has none.
        verdict: verdict by the rule.
    """

    text: str
    main: bool
    estimate: PairedEstimate | None
    published: tuple[float, float] | None
    verdict: Verdict


@cache
def findings_file() -> dict[str, Any]:
    """Read measures and findings."""
    text = (files("spiritlm_pl.reproduce") / "findings.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def measured(result: Result, measure: str) -> Figures | None:
    """Return the figures of a run by item, in per cent; None if it has none of this measure.

    A measure that a run gives one figure of has one item, without a name.
    """
    described = findings_file()["measures"][measure]
    steps = result.get("steps", {}).values()
    figures = {kind: found for step in steps for kind, found in step["figures"].items()}
    found = READERS[described["figure"]](figures, described.get("of", [measure]))
    scale = described.get("scale", 1)
    return None if found is None else {item: scale * value for item, value in found.items()}


def _points(figures: dict[str, Any], directions: Sequence[str]) -> Figures | None:
    found = figures.get("points")
    if found is None:
        return None
    mean = 100 * np.array([found[name] for name in directions], dtype=np.float64).mean(0)
    return dict(zip(found["ids"], mean.tolist(), strict=True))


def gaps(layers: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return how much more alike both forms of a word are than those of different words, in each layer, in per cent."""
    return [100 * (layer["same"]["value"] - layer["other"]["value"]) for layer in layers]


def _alignment(figures: dict[str, Any], _: Sequence[str]) -> Figures | None:
    found = figures.get("layers")
    return None if found is None else {"": max(gaps(found))}


def _expressivity(figures: dict[str, Any], names: Sequence[str]) -> Figures | None:
    found = figures.get("expressivity", {})
    return {"": float(found[names[0]])} if names[0] in found else None


READERS = {"points": _points, "alignment": _alignment, "expressivity": _expressivity}
BOUNDS = {"points": (0.0, 100.0), "alignment": (-200.0, 200.0), "expressivity": (0.0, 100.0)}  # in per cent


def table(runs: Mapping[int, Result], measure: str) -> dict[int, Figures]:
    """Return the figures of the runs of a condition that have the measure, by seed."""
    found = {seed: measured(result, measure) for seed, result in runs.items()}
    return {seed: figures for seed, figures in found.items() if figures is not None}


def condition_mean(runs: Mapping[int, Result], measure: str) -> PairedEstimate | None:
    """Estimate the mean of a measure over the runs of a condition; None without runs."""
    values = _stacked([table(runs, measure)])
    return None if values is None else crossed_mean(values[0], _bounds(measure))


def _bounds(measure: str) -> tuple[float, float]:
    """Return the smallest and the largest value that a measure can have."""
    return BOUNDS[findings_file()["measures"][measure]["figure"]]


def difference(runs: Runs, measure: str, better: str, worse: str) -> PairedEstimate | None:
    """Estimate by how much one condition has more of a measure than another, over pairs of runs and of items.

    Args:
        runs: results by condition and seed.
        measure: name of the measure.
        better: condition that is said to have more.
        worse: condition that is said to have less; or `CHANCE`.
    """
    one = table(runs.get(better, {}), measure)
    least, most = _bounds(measure)
    if worse == CHANCE:
        values = _stacked([one])
        return None if values is None else crossed_mean(values[0] - 50.0, (least - 50.0, most - 50.0))
    values = _stacked([one, table(runs.get(worse, {}), measure)])
    return None if values is None else crossed_mean(values[0] - values[1], (least - most, most - least))


def _stacked(tables: Sequence[dict[int, Figures]]) -> list[Values] | None:
    """Return the values (S, N) of each table for the seeds and items that all have; None if there are none."""
    seeds = sorted(set.intersection(*(set(one) for one in tables)))
    if not seeds:
        return None
    items = sorted(set.intersection(*(set(one[seed]) for one in tables for seed in seeds)))
    if not items:
        return None
    return [np.array([[one[seed][item] for item in items] for seed in seeds], dtype=np.float64) for one in tables]


def verdict(estimate: PairedEstimate | None) -> Verdict:
    """Return the verdict on a statement, by the rule."""
    if estimate is None or estimate.seeds < FEWEST_SEEDS or estimate.low is None or estimate.high is None:
        return "too few runs"
    if estimate.low > 0:
        return "seen"
    return "opposite" if estimate.high < 0 else "not seen"


def finding_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict on a finding from those on its main statements, by the rule."""
    if not verdicts:
        return "figures only"
    if "too few runs" in verdicts:
        return "too few runs"
    if all(one == "seen" for one in verdicts):
        return "seen"
    return "opposite" if "opposite" in verdicts else "not seen"


def statements(number: int, runs: Runs) -> list[Told]:
    """Return the statements of a finding with their estimates and verdicts."""
    return [told(one, runs) for one in findings_file()["findings"][number]["statements"]]


def told(statement: Mapping[str, Any], runs: Runs) -> Told:
    """Return a statement with its estimate and its verdict."""
    measure, better, worse = (statement[name] for name in ("measure", "better", "worse"))
    low = bool(statement.get("lower"))
    estimate = difference(runs, measure, *((worse, better) if low else (better, worse)))
    title = findings_file()["measures"][measure]["title"]
    text = f"{title}: {title_of(better)} {'below' if low else 'above'} {title_of(worse)}"
    published = statement.get("published")
    pair = None if published is None else (float(published[low]), float(published[not low]))
    return Told(text, bool(statement.get("main")), estimate, pair, verdict(estimate))


def title_of(condition: str) -> str:
    """Return the title of a condition."""
    from spiritlm_pl.reproduce.plan import plan_file

    return CHANCE if condition == CHANCE else str(plan_file()["conditions"][condition]["title"])
