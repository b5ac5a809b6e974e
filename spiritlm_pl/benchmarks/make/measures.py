"""Measures of what was spoken: lengths and levels, and whether they give away the right file of a pair.

Shapes: S samples.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from spiritlm_pl.corpora.audio import SAMPLE_RATE


@dataclass(frozen=True)
class Measured:
    """Length and level of a file.

    Attributes:
        pair: name that the files of a pair share; empty if it is in no pair.
        correct: whether it is the right one of its pair.
        seconds: length of the file.
        level: root mean square in dB below full scale.
        peak: largest absolute sample, 1 at full scale.
    """

    pair: str
    correct: bool
    seconds: float
    level: float
    peak: float


def measure(pair: str, correct: bool, waveform: Tensor) -> Measured:
    """Measure a waveform (S,)."""
    level = 20 * math.log10(float(waveform.square().mean().sqrt()))
    return Measured(pair, correct, len(waveform) / SAMPLE_RATE, level, float(waveform.abs().max()))


def pair_lines(measured: Iterable[Measured]) -> list[str]:
    """Say how far the two files of a pair differ, which should tell nothing about which of them is right."""
    pairs: dict[str, dict[bool, Measured]] = {}
    for one in measured:
        if one.pair:
            pairs.setdefault(one.pair, {})[one.correct] = one
    both = [(found[True], found[False]) for found in pairs.values() if len(found) == 2]
    if not both:
        return []
    lengths = [right.seconds / wrong.seconds for right, wrong in both]
    levels = [right.level - wrong.level for right, wrong in both]
    shorter = _mean([0.5 if ratio == 1 else float(ratio < 1) for ratio in lengths])
    apart = _mean([abs(math.log(ratio)) for ratio in lengths])
    return [
        f"{len(both)} pairs; the right file is the shorter one in {100 * shorter:.1f} % (equal lengths count half)",
        f"lengths within a pair differ by {100 * apart:.1f} % on average, levels by {_mean(map(abs, levels)):.2f} dB",
    ]


def _mean(values: Iterable[float]) -> float:
    found: Sequence[float] = list(values)
    return sum(found) / len(found)
