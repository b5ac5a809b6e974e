"""Intervals of measured figures: of shares (Wilson, 1927), and of sums over utterances (bootstrap, Efron, 1979).

Shapes: N utterances, R resamples.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Z_95 = 1.959964
RESAMPLES = 1000
PART = 1 << 22  # weights of utterances that are in memory together


@dataclass(frozen=True)
class Estimate:
    """Figure with its 95 % interval.

    Attributes:
        value: measured value of the figure.
        low: lower end of the interval; None for one utterance or equal ones, which give no variation to resample.
        high: upper end of the interval; None as for `low`.
        count: number of utterances, or pairs of them, that the figure is measured on.
    """

    value: float
    low: float | None
    high: float | None
    count: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def wilson_interval(successes: float, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Return lower and upper end of the interval of a share, 95 % by default.

    Half successes are ties. Points of 0, one half and 1 vary less about their mean than points of 0 and 1, so that ties
    make the interval too wide rather than too narrow.

    Raises:
        ValueError: if there are no trials, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"successes must be in [0, trials], but are {successes} of {trials} instead")
    share, weight = successes / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == trials else centre + half)


def share_estimate(right: Sequence[bool], scale: float = 1.0) -> Estimate | None:
    """Return the share of true values with Wilson's interval; None for no values."""
    if not right:
        return None
    low, high = wilson_interval(sum(right), len(right))
    return Estimate(scale * sum(right) / len(right), scale * low, scale * high, len(right))


def ratio_estimate(
    above: Sequence[float], below: Sequence[float], scale: float = 1.0, through: Callable[[Any], Any] | None = None
) -> Estimate | None:
    """Return a ratio of sums over utterances, such as errors to words, with a bootstrap interval over utterances.

    Args:
        above: (N,) numerator of each utterance, such as its errors.
        below: (N,) denominator of each utterance, such as its words; utterances with 0 do not count.
        scale: factor that the result is multiplied by.
        through: function applied to the ratio before scaling, such as a root.

    Returns:
        The ratio with its interval; None if the denominators sum to 0.
    """
    pairs = np.array([(a, b) for a, b in zip(above, below, strict=True) if b], dtype=np.float64).reshape(-1, 2)
    if not len(pairs):
        return None
    total = _ratio(pairs.sum(0)[None], scale, through)[0]
    if len(np.unique(pairs[:, 0] / pairs[:, 1])) == 1:
        return Estimate(float(total), None, None, len(pairs))
    sums = resampled_sums(pairs, RESAMPLES, np.random.default_rng(0))
    low, high = np.quantile(_ratio(sums, scale, through), (0.025, 0.975))  # (R, 2) to (R,)
    return Estimate(float(total), float(low), float(high), len(pairs))


def resampled_sums(
    values: npt.NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return sums (R, C) of resamples of utterances, in parts, so that memory does not grow with their product.

    Args:
        values: (N, C) what is summed of each utterance.
        resamples: number of resamples, R.
        generator: source of random numbers.
    """
    count = len(values)
    rows, shares = max(1, PART // count), np.full(count, 1 / count)
    parts = [
        generator.multinomial(count, shares, min(rows, resamples - start)) @ values
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(parts)


def mean_estimate(values: Sequence[float | None]) -> Estimate | None:
    """Return the mean over utterances that have a value, with a bootstrap interval; None if none has."""
    found = [value for value in values if value is not None]
    return ratio_estimate(found, [1.0] * len(found))


def _ratio(
    sums: npt.NDArray[np.float64], scale: float, through: Callable[[Any], Any] | None
) -> npt.NDArray[np.float64]:
    ratios = sums[:, 0] / sums[:, 1]
    return scale * (ratios if through is None else through(ratios))
