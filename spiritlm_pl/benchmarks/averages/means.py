"""Means of points with their intervals.

Points are 1 for the right hypothesis, one half for a tie, else 0. Several lines of one id, such as a word in several
voices, count as one: their mean is averaged over ids.

Shapes: I ids, P distinct mean points, R resamples.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from spiritlm_pl.benchmarks.items import ChoiceLine, Figure
from spiritlm_pl.evaluation.interval import wilson_interval

Array: TypeAlias = npt.NDArray[np.float64]
Ids: TypeAlias = Mapping[Any, Sequence[float]]  # points of the lines of each id
RESAMPLES = 2000
SEED = 0


def check_variant(lines: Sequence[ChoiceLine], variant: str) -> None:
    """Check that all lines have scores of a way of counting.

    Raises:
        ValueError: if there are no lines, a line has no such scores, or its scores are no numbers.
    """
    if not lines:
        raise ValueError("figures need the results of at least one item, but there are none")
    lacking = [line for line in lines if variant not in line.scores]
    if lacking:
        raise ValueError(
            f"every line must have scores of {variant}, but {len(lacking)} of {len(lines)} have none: {lacking[0].id} "
            f"has {', '.join(lacking[0].scores) or 'no scores'}"
        )
    for line in lines:
        if any(math.isnan(score) for score in line.scores[variant]):
            raise ValueError(f"scores must be numbers, but {variant} of {line.id} is {line.scores[variant]}")


def grouped(lines: Sequence[ChoiceLine], label: str) -> dict[Any, list[ChoiceLine]]:
    """Return lines by the value of a label, in the order of the values; lines without it are left out."""
    found: dict[Any, list[ChoiceLine]] = {}
    for line in lines:
        if line.labels.get(label) is not None:
            found.setdefault(line.labels[label], []).append(line)
    return dict(sorted(found.items(), key=lambda pair: (isinstance(pair[0], str), pair[0])))


def by_id(lines: Sequence[ChoiceLine], variant: str, id_labels: Sequence[str]) -> dict[Any, list[float]]:
    """Return the points of lines by their id.

    Args:
        lines: results of items.
        variant: way of counting.
        id_labels: labels that together are the id; a line that lacks one of them is an id of its own.
    """
    found: dict[Any, list[float]] = {}
    for line in lines:
        values = tuple(line.labels.get(label) for label in id_labels)
        key = (None, line.id) if None in values or not values else values
        found.setdefault(key, []).append(line.points(variant))
    return found


def mean_points(ids: Ids) -> Array:
    """Return the mean points (I,) of ids."""
    return np.array([math.fsum(points) / len(points) for points in ids.values()], dtype=np.float64)


def share(name: str, ids: Ids) -> Figure:
    """Return the mean over ids of the mean over the lines of each.

    The interval is Wilson's where every id has one line, else from a bootstrap over ids.
    """
    means = mean_points(ids)
    value = math.fsum(means) / len(means)
    if all(len(points) == 1 for points in ids.values()):
        low, high = wilson_interval(math.fsum(means), len(means))
    else:
        low, high = _interval([means], value)
    return Figure(name, 100 * value, 100 * low, 100 * high, len(means))


def mean_of(name: str, groups: Sequence[Ids]) -> Figure:
    """Return the mean over groups, such as types, of their shares, each with the same weight.

    The interval is from a bootstrap over the ids of each group. The count is that of ids.
    """
    means = [mean_points(ids) for ids in groups]
    value = math.fsum(math.fsum(one) / len(one) for one in means) / len(means)
    low, high = _interval(means, value)
    return Figure(name, 100 * value, 100 * low, 100 * high, sum(map(len, means)))


def resampled(values: Array, resamples: int, generator: np.random.Generator) -> Array:
    """Return means (R,) of resamples of values (I,).

    Ids with equal values are drawn together, so that memory grows with the number of distinct values and not of ids.
    """
    distinct, counts = np.unique(values, return_counts=True)  # (P,), (P,)
    draws = generator.multinomial(len(values), counts / len(values), resamples)  # (R, P)
    return np.asarray(draws @ distinct / len(values), dtype=np.float64)


def _interval(groups: Sequence[Array], value: float) -> tuple[float, float]:
    """Return the ends of the 95 % interval of the mean of groups' means.

    Equal values give no variation to resample. Their interval is Wilson's for as many ids as weigh as much as the
    groups do, which is too wide rather than too narrow, since means of points vary at most as single ones do.
    """
    if all(len(np.unique(means)) == 1 for means in groups):
        weight = len(groups) ** 2 / math.fsum(1 / len(means) for means in groups)
        trials = max(1, math.floor(weight + 1e-9))
        return wilson_interval(min(value, 1.0) * trials, trials)
    generator = np.random.default_rng(SEED)
    draws = np.mean([resampled(means, RESAMPLES, generator) for means in groups], axis=0)  # (R,)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)


def per_group(prefix: str, lines: Sequence[ChoiceLine], label: str, variant: str, ids: Sequence[str]) -> list[Figure]:
    """Return a figure for each value of a label, such as "type/agreement", with the labels that are the id in `ids`."""
    groups = grouped(lines, label)
    return [share(f"{prefix}/{value}", by_id(inner, variant, ids)) for value, inner in groups.items()]
