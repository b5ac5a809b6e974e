"""Figures over draws of shots: the mean over the draws, with an interval, and their spread.

The interval is from a bootstrap over items and draws together: it says what other items and other shots would give. As
few draws vary less among themselves than about the mean of all, their variance is widened by S / (S - 1), and an
interval may go beyond what the figure can be, where it is cut.

Shapes: R resamples, N items, S draws.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from spiritlm_pl.benchmarks.items import AnswerLine, Figure
from spiritlm_pl.evaluation.interval import RESAMPLES, wilson_interval

PERCENT = 100.0
SEED = 0  # of the resamples
PART = 100  # resamples that are computed together
Array: TypeAlias = npt.NDArray[np.float64]
Measured: TypeAlias = Callable[[Array], Array]  # weights of lines (R, N) to values in percent (R)
Measure: TypeAlias = Callable[[Sequence[AnswerLine]], Measured]


def figures_of_draws(
    lines: Sequence[AnswerLine], measure: Measure, shares: bool = False, most: float = inf
) -> list[Figure]:
    """Return the figure over all draws and splits first, then the spread of the draws, and each by itself.

    Args:
        lines: at least one line.
        measure: function from the lines of one draw to what is measured of them.
        shares: whether the figure is a share of items, so that no interval is narrower than Wilson's.
        most: largest value that the figure can have, in percent, beyond which no interval goes.
    """
    splits = list(dict.fromkeys(str(line.labels["split"]) for line in lines))
    seeds = sorted({int(line.labels["seed"] or 0) for line in lines})
    found = [_figure("all", lines, measure, shares, most)]
    if len(seeds) > 1:
        by_seed = {seed: [line for line in lines if line.labels["seed"] == seed] for seed in seeds}
        each = [_figure(f"seed{seed}", own, measure, shares, most) for seed, own in by_seed.items()]
        spread = float(np.std([figure.value for figure in each], ddof=1))
        found += [Figure("spread_of_seeds", spread, None, None, len(seeds)), *each]
    if len(splits) > 1:
        by_split = {split: [line for line in lines if line.labels["split"] == split] for split in splits}
        found += [_figure(split, own, measure, shares, most) for split, own in by_split.items()]
    return found


@dataclass(frozen=True)
class _Part:
    """Lines of one split: the number of its items, and for each draw the places of its items, and what is measured."""

    size: int
    draws: dict[int, tuple[list[int], Measured]]

    @classmethod
    def of(cls, lines: Sequence[AnswerLine], measure: Measure) -> "_Part":
        places = {item: place for place, item in enumerate(dict.fromkeys(line.labels["item"] for line in lines))}
        draws = {}
        for seed in dict.fromkeys(int(line.labels["seed"] or 0) for line in lines):
            own = [line for line in lines if line.labels["seed"] == seed]
            draws[seed] = ([places[line.labels["item"]] for line in own], measure(own))
        return cls(len(places), draws)

    def values(self, weights: Array) -> Array:
        """Return the figures (S, R) of the draws for weights of items (R, N)."""
        return np.stack([measured(weights[:, places]) for places, measured in self.draws.values()])


@dataclass(frozen=True)
class Sampled:
    """Figure over draws of shots, and what it would be with other items and other shots.

    Attributes:
        value: mean over splits of the mean over draws, in percent.
        resamples: (R,) figures of resampled items and draws; those without anything to measure are no numbers.
        count: number of items.
    """

    value: float
    resamples: Array
    count: int


def sampled(lines: Sequence[AnswerLine], measure: Measure, resamples: int = RESAMPLES) -> Sampled:
    """Return the mean over splits of the mean over draws, with resamples.

    Lines of the same items in the same order are resampled alike, so that figures of two models can be compared.

    Args:
        lines: at least one line.
        measure: function from the lines of one draw to what is measured of them.
        resamples: number of resamples.
    """
    splits = dict.fromkeys(line.labels["split"] for line in lines)
    parts = [_Part.of([line for line in lines if line.labels["split"] == split], measure) for split in splits]
    draw = np.random.default_rng(SEED)
    seeds = sorted({seed for part in parts for seed in part.draws})
    chosen = draw.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), resamples) / len(seeds)  # (R, S)
    tilt = (chosen - 1 / len(seeds)) * np.sqrt(len(seeds) / max(1, len(seeds) - 1)) + 1 / len(seeds)
    share = dict(zip(seeds, tilt.T, strict=True))
    value, drawn = 0.0, np.zeros(resamples)
    for part in parts:
        value += float(part.values(np.ones((1, part.size))).mean()) / len(parts)
        own = np.concatenate([part.values(weights) for weights in _weights(draw, part.size, resamples)], 1)  # (S, R)
        weight = np.stack([share[seed] for seed in part.draws])
        weight += (1 - weight.sum(0)) / len(part.draws)  # of a split that lacks a draw
        drawn += (weight * own).sum(0) / len(parts)
    return Sampled(value, drawn, sum(part.size for part in parts))


def _figure(name: str, lines: Sequence[AnswerLine], measure: Measure, shares: bool, most: float) -> Figure:
    """Return the mean over splits of the mean over draws, with an interval."""
    found = sampled(lines, measure)
    value, count, drawn = found.value, found.count, found.resamples
    drawn = drawn[np.isfinite(drawn)]
    low, high = (float(end) for end in np.quantile(drawn, (0.025, 0.975))) if len(drawn) else (value, value)
    if shares:
        ends = wilson_interval(value / PERCENT * count, count)
        low, high = min(low, PERCENT * ends[0]), max(high, PERCENT * ends[1])
    low, high = max(0.0, low), min(most, high)
    varied = high - low > 1e-9
    return Figure(name, value, low if varied else None, high if varied else None, count)


def _weights(draw: np.random.Generator, size: int, resamples: int) -> Iterator[Array]:
    """Yield weights of items (R, N), in parts."""
    for start in range(0, resamples, PART):
        count = min(PART, resamples - start)
        yield draw.multinomial(size, np.full(size, 1 / size), count).astype(np.float64)
