"""Paired tests of two models on the same items.

McNemar's exact test (McNemar, 1947) counts the items on which one model has more points than the other: under the
hypothesis that both are equally good, each model is the better one with probability one half. A tie is one half of a
point, and an item on which one model ties and the other is right or wrong counts as one of these items, as much as one
on which one is right and the other wrong. Items with equal points say nothing about the difference and do not count.

Lines of one id, such as a word in several voices, are not independent; with several, the test is a bootstrap over ids
(Efron, 1979) instead, of the differences of their mean points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from spiritlm_pl.benchmarks.averages.means import SEED, by_id, check_variant, mean_points, resampled
from spiritlm_pl.benchmarks.items import AnswerLine, ChoiceLine, Labels
from spiritlm_pl.evaluation.interval import resampled_sums

RESAMPLES = 10_000


@dataclass(frozen=True)
class Comparison:
    """Difference of two models.

    Attributes:
        difference: figure of the first model less that of the second, in percent.
        low: lower end of the difference's 95 % interval (bootstrap over ids); None if all ids differ equally.
        high: upper end of the interval; None as for `low`.
        p_value: probability of so large a difference, in either direction, if the models were equally good.
        test: "mcnemar" or "bootstrap".
        better: number of ids on which the first model has more points, or a higher share.
        worse: number of ids on which it has fewer, or a lower share.
        count: number of ids.
        unpaired: number of lines that only one of the models has, which are left out.
    """

    difference: float
    low: float | None
    high: float | None
    p_value: float
    test: Literal["mcnemar", "bootstrap"]
    better: int
    worse: int
    count: int
    unpaired: int


def compare(
    first: Sequence[ChoiceLine], second: Sequence[ChoiceLine], variant: str, id_labels: Sequence[str] = ()
) -> Comparison:
    """Compare two models on the items that both have results of.

    Args:
        first: results of the first model.
        second: results of the second model.
        variant: way of counting, for both.
        id_labels: labels that together are the id, such as `swuggy.ID`; with none, each line is an id of its own.

    Raises:
        ValueError: if a line lacks this way of counting, items of one id have other labels or hypotheses, or the models
            share no item.
    """
    check_variant(first, variant)
    check_variant(second, variant)
    ours, theirs = ({line.id: line for line in lines} for lines in (first, second))
    shared = [line_id for line_id in ours if line_id in theirs]
    if not shared:
        raise ValueError("two models must have results of the same items to be compared, but share none")
    for line_id in shared:
        if ours[line_id].labels != theirs[line_id].labels or ours[line_id].names != theirs[line_id].names:
            raise ValueError(f"results must be of the same items to be compared, but {line_id} differs in its labels")
    pairs = [by_id([lines[line_id] for line_id in shared], variant, id_labels) for lines in (ours, theirs)]
    differences = mean_points(pairs[0]) - mean_points(pairs[1])
    single = len(pairs[0]) == len(shared)
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    draws = resampled(differences, RESAMPLES, np.random.default_rng(SEED))
    varied = len(np.unique(differences)) > 1
    low, high = np.quantile(draws, (0.025, 0.975)) if varied else (None, None)
    return Comparison(
        difference=100 * math.fsum(differences) / len(differences),
        low=None if low is None else 100 * float(low),
        high=None if high is None else 100 * float(high),
        p_value=exact_p_value(better, worse) if single else bootstrap_p_value(draws),
        test="mcnemar" if single else "bootstrap",
        better=better,
        worse=worse,
        count=len(differences),
        unpaired=len(ours) + len(theirs) - 2 * len(shared),
    )


def compare_ratios(
    first: Sequence[AnswerLine], second: Sequence[AnswerLine], way: str, id_labels: Sequence[str] = ()
) -> Comparison:
    """Compare two models by ratios of sums, such as word error rates, on the items that both have results of.

    Args:
        first: results of the first model.
        second: results of the second model.
        way: way of counting, a key of `AnswerLine.counts`; items without it in one of the models are left out.
        id_labels: labels that together are the id, such as that of an item which is asked after several draws of solved
            examples; with none, each line is an id of its own.

    Raises:
        ValueError: if items of one id have other labels, or the models share no item.
    """
    ours, theirs, unpaired = shared_lines(
        *([line for line in lines if way in line.counts] for lines in (first, second))
    )
    by_key: dict[Any, list[tuple[float, ...]]] = {}
    for one, other in zip(ours, theirs, strict=True):
        values = tuple(one.labels.get(label) for label in id_labels)
        key = (None, one.id) if None in values or not values else values
        by_key.setdefault(key, []).append((*one.counts[way], *other.counts[way]))
    counts = np.array([np.sum(some, axis=0) for some in by_key.values()])  # (I, 4)
    shares = counts[:, [0, 2]] / np.maximum(counts[:, [1, 3]], 1e-9)
    higher, lower = int((shares[:, 0] > shares[:, 1]).sum()), int((shares[:, 0] < shares[:, 1]).sum())
    single = bool((counts[:, [1, 3]] == 1).all() and np.isin(counts[:, [0, 2]], (0, 1)).all())
    sums = resampled_sums(counts, RESAMPLES, np.random.default_rng(SEED))  # (R, 4)
    draws = _difference(sums)
    varied = len(np.unique(draws)) > 1
    low, high = np.quantile(draws, (0.025, 0.975)) if varied else (None, None)
    return Comparison(
        difference=float(_difference(counts.sum(0)[None])[0]),
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        p_value=exact_p_value(higher, lower) if single else bootstrap_p_value(draws),
        test="mcnemar" if single else "bootstrap",
        better=higher,
        worse=lower,
        count=len(counts),
        unpaired=unpaired,
    )


def shared_lines(
    first: Sequence[AnswerLine], second: Sequence[AnswerLine]
) -> tuple[list[AnswerLine], list[AnswerLine], int]:
    """Return the lines of the items that two models share, in one order, and the number of all other lines.

    Raises:
        ValueError: if an item has other labels, or the models share none.
    """
    ours, theirs = ({line.id: line for line in lines} for lines in (first, second))
    shared = [line_id for line_id in ours if line_id in theirs]
    if not shared:
        raise ValueError("two models must have results of the same items to be compared, but share none")
    pairs = ((line_id, ours[line_id].labels, theirs[line_id].labels) for line_id in shared)
    differing = next((line_id for line_id, mine, others in pairs if _told(mine) != _told(others)), None)
    if differing is not None:
        raise ValueError(f"results must be of the same items to be compared, but {differing} differs in its labels")
    unpaired = len(ours) + len(theirs) - 2 * len(shared)
    return [ours[line_id] for line_id in shared], [theirs[line_id] for line_id in shared], unpaired


def _told(labels: Labels) -> Labels:
    """Return labels with the names of files alone, as copies of the data may lie in other folders."""
    paths = {key: value for key, value in labels.items() if isinstance(value, str) and value.startswith("/")}
    return labels | {key: value.rpartition("/")[2] for key, value in paths.items()}


def _difference(sums: np.ndarray) -> np.ndarray:
    """Return the difference in percent of two ratios, from sums (R, 4) of both parts and wholes."""
    ours, theirs = (sums[:, place] / np.maximum(sums[:, place + 1], 1e-9) for place in (0, 2))
    return np.asarray(100 * (ours - theirs), dtype=np.float64)


def exact_p_value(better: int, worse: int) -> float:
    """Return the two-sided probability of so unequal numbers by chance, from the binomial distribution in integers."""
    trials, fewer = better + worse, min(better, worse)
    term = total = 1  # of outcomes with no success; the sum is over at most `fewer` successes
    for successes in range(1, fewer + 1):
        term = term * (trials - successes + 1) // successes
        total += term
    return min(1.0, 2 * total / 2**trials)


def bootstrap_p_value(draws: np.ndarray) -> float:
    """Return twice the smaller share of resamples on either side of zero, which is never 0."""
    most = 1 + min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * most / (1 + len(draws)))
