"""Figures of the few-shot benchmarks: rates of errors, right labels, macro-F1, and what stands beside them.

Shapes: R resamples, N items, C labels.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import inf

import numpy as np

from spiritlm_pl.benchmarks.few_shot.draws import PERCENT, Array, Measure, Measured, figures_of_draws
from spiritlm_pl.benchmarks.items import AnswerLine, Figure

RECORDING = "recording_"  # before the names of ways of counting that are of recordings, not of answers
EXACT, MACRO_F1 = "exact_match", "macro_f1"  # ways of counting labels


def error_figures(lines: Sequence[AnswerLine]) -> dict[str, list[Figure]]:
    """Return rates of errors in every way of counting: over all draws, by draw, by split, and of the recordings."""
    ways = dict.fromkeys(way for line in lines for way in line.counts)
    found = {}
    for way in (way for way in ways if not way.startswith(RECORDING)):
        counted = [line for line in lines if way in line.counts and line.counts[way][1] > 0]
        if not counted:  # no reference has a word
            continue
        heard = [line for line in lines if RECORDING + way in line.counts]
        beside = figures_of_draws(heard, ratio_of(RECORDING + way))[:1] if heard else []
        named = [replace(figure, name="recordings") for figure in beside]
        found[way] = [*figures_of_draws(counted, ratio_of(way)), *named, *_prompts(lines)]
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
    exact = figures_of_draws(lines, ratio_of(EXACT), shares=True, most=most_of(EXACT))
    f1 = figures_of_draws(lines, macro_f1(sorted(meant)), most=most_of(MACRO_F1))
    return {EXACT: [*exact, *beside, *_prompts(lines)], MACRO_F1: [*f1, *_prompts(lines)]}


def _reference(line: AnswerLine) -> str:
    return " ".join(line.texts["reference"].split()).casefold()


def ratio_of(way: str) -> Measure:
    """Return the measure of a way of counting: the ratio of its sums in percent."""

    def measure(lines: Sequence[AnswerLine]) -> Measured:
        counts = np.array([line.counts[way] for line in lines], dtype=np.float64)  # (N, 2)

        def measured(weights: Array) -> Array:
            sums = weights @ counts
            with np.errstate(invalid="ignore", divide="ignore"):
                values: Array = PERCENT * sums[:, 0] / sums[:, 1]
            return values

        return measured

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

    def measure(lines: Sequence[AnswerLine]) -> Measured:
        meant, given = one_hot([*map(_reference, lines)]), one_hot([line.texts["prediction"] for line in lines])
        both = meant * given

        def measured(weights: Array) -> Array:
            right, support = weights @ both, weights @ meant  # (R, C)
            with np.errstate(invalid="ignore"):
                scores = np.where(support > 0, 2 * right / (support + weights @ given), np.nan)
            counted = (support > 0).sum(1)  # labels that a resample has; one without any, of a tiny run, has no score
            sums = np.where(support > 0, scores, 0.0).sum(1)
            values: Array = PERCENT * np.divide(sums, counted, out=np.full(len(sums), np.nan), where=counted > 0)
            return values

        return measured

    return measure


def measure_of(lines: Sequence[AnswerLine], way: str) -> Measure:
    """Return the measure that figures of a way of counting are made with.

    Args:
        lines: all lines that are measured, by which the labels are known.
        way: way of counting, as figures name it.
    """
    return macro_f1(sorted(set(map(_reference, lines)))) if way == MACRO_F1 else ratio_of(way)


def most_of(way: str) -> float:
    """Return the largest value of a way of counting, in percent; errors may be more than what they are counted in."""
    return PERCENT if way in (EXACT, MACRO_F1) else inf


def _prompts(lines: Sequence[AnswerLine]) -> list[Figure]:
    """Return how many shots were kept on average, and the share of answers that reached the limit of their length."""
    count = len({line.labels["item"] for line in lines})
    shots = float(np.mean([line.num_shots for line in lines]))
    cut = PERCENT * float(np.mean([line.finish_reason == "length" for line in lines]))
    return [Figure("shots_kept", shots, None, None, count), Figure("answers_without_end", cut, None, None, count)]
