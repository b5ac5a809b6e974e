"""Figures over draws of shots: the mean over the draws, with an interval, and their spread.

The interval is from a bootstrap over items and draws together: it says what other items and other shots would give.

Shapes: R resamples (and the items as they are), N items, C labels.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from spiritlm_pl.benchmarks.items import AnswerLine, Figure
from spiritlm_pl.evaluation.interval import RESAMPLES, wilson_interval

PERCENT = 100.0
RECORDING = "recording_"  # before the names of ways of counting that are of recordings, not of answers
SEED = 0  # of the resamples
PART = 100  # resamples that are computed together
Array: TypeAlias = npt.NDArray[np.float64]
Measure: TypeAlias = Callable[[Sequence[AnswerLine], Array], Array]  # lines (N) and their weights (R, N) to values (R)


def error_figures(lines: Sequence[AnswerLine]) -> dict[str, list[Figure]]:
    """Return rates of errors in every way of counting: over all draws, by draw, by split, and of the recordings."""
    ways = [way for way in dict.fromkeys(way for line in lines for way in line.counts) if not way.startswith(RECORDING)]
    found = {}
    for way in ways:
        own = RECORDING + way
        heard = [line for line in lines if own in line.counts]
        beside = [replace(_of_way(heard, own, ratio_of(own))[0], name="recordings")] if heard else []
        found[way] = [*_of_way(lines, way, ratio_of(way)), *beside, *_prompts(lines)]
    return found


def intent_figures(lines: Sequence[AnswerLine]) -> dict[str, list[Figure]]:
    """Return the share of right labels and the macro-F1, with what guessing would give beside them.

    "labels_among_shots" is the share of items whose label the shots show: no more can be right by copying.
    """
    meant = Counter(map(_reference, lines))
    count = len({line.labels["item"] for line in lines})
    shares = {
        "answers_that_are_labels": [line.counts["is_label"][0] for line in lines],
        "labels_among_shots": [float(line.labels["label_in_shots"] or 0) for line in lines],
        "chance": [1 / float(line.labels["num_labels"] or 1) for line in lines],
        "commonest_label": [meant.most_common(1)[0][1] / len(lines)],
    }
    beside = [Figure(name, PERCENT * float(np.mean(found)), None, None, count) for name, found in shares.items()]
    exact = _of_way(lines, "exact_match", ratio_of("exact_match"))
    f1 = _of_way(lines, "exact_match", macro_f1(sorted(meant)))
    return {"exact_match": [*exact, *beside, *_prompts(lines)], "macro_f1": [*f1, *_prompts(lines)]}


def _reference(line: AnswerLine) -> str:
    return " ".join(line.texts["reference"].split()).casefold()


def ratio_of(way: str) -> Measure:
    """Return the measure of a way of counting: the ratio of its sums in percent."""

    def measure(lines: Sequence[AnswerLine], weights: Array) -> Array:
        counts = np.array([line.counts.get(way, (0.0, 0.0)) for line in lines], dtype=np.float64).reshape(-1, 2)
        sums = weights @ np.where(counts[:, 1:] > 0, counts, 0.0)
        with np.errstate(invalid="ignore"):
            values: Array = PERCENT * sums[:, 0] / sums[:, 1]
        return values

    return measure


def macro_f1(known: Sequence[str]) -> Measure:
    """Return the measure of the mean F1 over labels in percent; labels that no item has do not count.

    Args:
        known: labels of all items; an answer that is none of them is wrong.
    """
    places = {label: place for place, label in enumerate(known)}

    def one_hot(labels: Sequence[str]) -> Array:
        found = np.zeros((len(labels), len(known)))
        for row, label in enumerate(labels):
            if label in places:
                found[row, places[label]] = 1.0
        return found

    def measure(lines: Sequence[AnswerLine], weights: Array) -> Array:
        meant, given = (
            one_hot([_reference(line) for line in lines]),
            one_hot([line.texts["prediction"] for line in lines]),
        )
        right, support = weights @ (meant * given), weights @ meant  # (R, C)
        with np.errstate(invalid="ignore"):
            scores = np.where(support > 0, 2 * right / (support + weights @ given), np.nan)
        values: Array = PERCENT * np.nanmean(scores, 1)
        return values

    return measure


def _of_way(lines: Sequence[AnswerLine], way: str, measure: Measure) -> list[Figure]:
    """Return the figure over all draws and splits first, then the spread of the draws, and each by itself."""
    lines = [line for line in lines if way in line.counts]
    splits = list(dict.fromkeys(str(line.labels["split"]) for line in lines))
    seeds = sorted({int(line.labels["seed"] or 0) for line in lines})
    found = [_figure("all", lines, measure, splits)]
    if len(seeds) > 1:
        each = [
            _figure(f"seed{seed}", [one for one in lines if one.labels["seed"] == seed], measure, splits)
            for seed in seeds
        ]
        spread = float(np.std([figure.value for figure in each], ddof=1))
        found += [Figure("spread_of_seeds", spread, None, None, len(seeds)), *each]
    if len(splits) > 1:
        found += [
            _figure(split, [one for one in lines if one.labels["split"] == split], measure, [split]) for split in splits
        ]
    return found


def _figure(name: str, lines: Sequence[AnswerLine], measure: Measure, splits: Sequence[str]) -> Figure:
    """Return the mean over splits of the mean over draws, with an interval."""
    tables = [_by_seed([line for line in lines if line.labels["split"] == split]) for split in splits]
    tables = [(count, table) for count, table in tables if table]
    count = sum(count for count, _ in tables)
    draw = np.random.default_rng(SEED)
    values = []  # of each split: (R + 1,), the items as they are first
    for size, table in tables:
        own = np.concatenate([_values(table, measure, weights) for weights in _weights(draw, size)], 1)  # (S, R + 1)
        shares = draw.multinomial(len(table), np.full(len(table), 1 / len(table)), own.shape[1]).T / len(table)
        shares[:, 0] = 1 / len(table)
        values.append((own * shares).sum(0))
    mean = np.mean(values, 0)
    value, drawn = float(mean[0]), mean[1:][np.isfinite(mean[1:])]
    low, high = (float(end) for end in np.quantile(drawn, (0.025, 0.975))) if len(drawn) else (value, value)
    if all(
        line.counts.get("exact_match", (0, 0))[1] == 1 for line in lines
    ):  # where a bootstrap has little to draw from
        right = sum(line.counts["exact_match"][0] for line in lines) / len(lines)
        if abs(PERCENT * right - value) < 1e-9:
            ends = wilson_interval(right * count, count)
            low, high = min(low, PERCENT * ends[0]), max(high, PERCENT * ends[1])
    known = high > low
    return Figure(name, value, low if known else None, high if known else None, count)


def _by_seed(lines: Sequence[AnswerLine]) -> tuple[int, list[tuple[list[int], list[AnswerLine]]]]:
    """Return the number of items, and for each draw the places of its items and their lines."""
    places: dict[Any, int] = {}
    found: dict[Any, tuple[list[int], list[AnswerLine]]] = {}
    for line in lines:
        own = found.setdefault(line.labels["seed"], ([], []))
        own[0].append(places.setdefault(line.labels["item"], len(places)))
        own[1].append(line)
    return len(places), list(found.values())


def _weights(draw: np.random.Generator, size: int) -> list[Array]:
    """Return weights of items (R, N) in parts, in the first part each item once before the resamples."""
    shares = np.full(size, 1 / size)
    parts = [draw.multinomial(size, shares, PART).astype(np.float64) for _ in range(RESAMPLES // PART)]
    return [np.ones((1, size)), *parts]


def _values(table: Sequence[tuple[list[int], list[AnswerLine]]], measure: Measure, weights: Array) -> Array:
    return np.stack([measure(lines, weights[:, places]) for places, lines in table])


def _prompts(lines: Sequence[AnswerLine]) -> list[Figure]:
    """Return how many shots were kept on average, and the share of answers that reached the limit of their length."""
    count = len({line.labels["item"] for line in lines})
    shots = float(np.mean([line.num_shots for line in lines]))
    cut = PERCENT * float(np.mean([line.finish_reason == "length" for line in lines]))
    return [Figure("shots_kept", shots, None, None, count), Figure("answers_without_end", cut, None, None, count)]
