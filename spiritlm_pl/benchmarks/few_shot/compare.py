"""Paired tests of two models after the same shots, by the same estimate as the figures.

As the figures, the difference is a mean over splits of the mean over draws of shots, and its resamples are of items and
draws together (see `draws.py`), so that it says what other items and other shots would give.
"""

from collections.abc import Sequence

import numpy as np

from spiritlm_pl.benchmarks.averages.compare import RESAMPLES, Comparison, bootstrap_p_value, shared_lines
from spiritlm_pl.benchmarks.few_shot.draws import sampled
from spiritlm_pl.benchmarks.few_shot.figures import EXACT, MACRO_F1, measure_of, most_of
from spiritlm_pl.benchmarks.items import AnswerLine


def compare_draws(first: Sequence[AnswerLine], second: Sequence[AnswerLine], way: str) -> Comparison:
    """Compare two models on the items that both have results of.

    Args:
        first: results of the first model.
        second: results of the second model.
        way: way of counting, as figures name it.

    Raises:
        ValueError: if the models share no item that counts in this way, or an item differs in its labels.
    """
    counted = EXACT if way == MACRO_F1 else way
    ours, theirs, unpaired = shared_lines(
        *([line for line in lines if line.counts.get(counted, (0, 0))[1] > 0] for lines in (first, second))
    )
    one, other = (sampled(lines, measure_of(lines, way), RESAMPLES) for lines in (ours, theirs))
    differences = one.resamples - other.resamples
    differences = differences[np.isfinite(differences)]
    varied = len(differences) > 0 and np.ptp(differences) > 1e-9
    low, high = np.quantile(differences, (0.025, 0.975)) if varied else (None, None)
    most = most_of(way)
    higher, lower = _higher(ours, theirs, counted), _higher(theirs, ours, counted)
    return Comparison(
        difference=one.value - other.value,
        low=None if low is None else max(-most, float(low)),
        high=None if high is None else min(most, float(high)),
        p_value=bootstrap_p_value(differences),
        test="bootstrap",
        better=higher,
        worse=lower,
        count=one.count,
        unpaired=unpaired,
    )


def _higher(ours: Sequence[AnswerLine], theirs: Sequence[AnswerLine], way: str) -> int:
    """Return the number of items of which the first lines have more; all draws of an item count together."""
    more: dict[tuple[object, object], float] = {}
    for one, other in zip(ours, theirs, strict=True):
        key = (one.labels["split"], one.labels["item"])
        more[key] = more.get(key, 0.0) + one.counts[way][0] - other.counts[way][0]
    return sum(difference > 0 for difference in more.values())
