"""Differences between two ways of training, over runs with several seeds and the same test items.

Runs of one seed are paired, and so are items: of each pair of runs and each item there is one difference d[s, i]. Seeds
and items are both samples, which are crossed. The variance of the mean difference is that of a two-way layout without
replication, (MS_seeds + MS_items - MS_rest) / (S N), never less than either of its parts, and the interval is Student's
with Satterthwaite's degrees of freedom (Satterthwaite, 1946). With few seeds it is wider than a bootstrap's, which
draws from the few there are. It ends where the figure does, as a share at 0 and 1: the mean lies within these bounds,
so that an interval which is cut there holds it as often.

Shapes: S seeds, N items.
"""

from dataclasses import asdict, dataclass
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

COVERAGE = 0.95
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairedEstimate:
    """Mean difference, or mean, with its 95 % interval over seeds and items.

    Attributes:
        value: mean.
        low: lower end of the interval; None with fewer than two seeds.
        high: upper end of the interval; None as for `low`.
        seeds: number of seeds.
        items: number of items; 1 for a figure that a run gives only one of.
    """

    value: float
    low: float | None
    high: float | None
    seeds: int
    items: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def crossed_mean(values: Values, bounds: tuple[float, float] = (-inf, inf)) -> PairedEstimate:
    """Estimate the mean of values (S, N) of seeds and items, such as differences between two ways of training.

    Args:
        values: (S, N) values of each seed and item.
        bounds: smallest and largest value that is possible, beyond which the interval does not go.

    Raises:
        ValueError: if the values are not a table with at least one seed and one item.
    """
    if values.ndim != 2 or not values.size:
        raise ValueError(f"values must be of shape (seeds, items), but are of shape {values.shape} instead")
    seeds, items = values.shape
    mean = float(values.mean())
    if seeds < 2:
        return PairedEstimate(mean, None, None, seeds, items)
    error, freedom = _error(values)
    half = 0.0 if error == 0 else float(student.ppf((1 + COVERAGE) / 2, freedom)) * error
    return PairedEstimate(mean, max(bounds[0], mean - half), min(bounds[1], mean + half), seeds, items)


def _error(values: Values) -> tuple[float, float]:
    """Return the standard error of the mean of values (S, N), and its degrees of freedom."""
    seeds, items = values.shape
    of_seeds = items * float(values.mean(1).var(ddof=1))
    if items == 1:
        return float(np.sqrt(of_seeds / seeds)), seeds - 1
    of_items = seeds * float(values.mean(0).var(ddof=1))
    rest = values - values.mean(1, keepdims=True) - values.mean(0, keepdims=True) + values.mean()
    of_rest = float((rest**2).sum()) / ((seeds - 1) * (items - 1))
    parts = ((of_seeds, seeds - 1), (of_items, items - 1), (-of_rest, (seeds - 1) * (items - 1)))
    variance = sum(part for part, _ in parts)
    if variance < max(of_seeds, of_items):  # one of both effects is not there
        variance, freedom = max(parts[:2])
        return float(np.sqrt(variance / values.size)), freedom
    weights = sum(part**2 / freedom for part, freedom in parts)
    return float(np.sqrt(variance / values.size)), max(seeds - 1.0, variance**2 / weights) if weights else seeds - 1.0
