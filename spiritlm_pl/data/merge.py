"""Pitch and style among the units: one stream sorted by time, and back (arXiv 2402.05755, section 3.2).

Runs of equal units and of equal pitch codes are one token with the time of their first frame; style is not
collapsed. At equal times style comes first, then pitch, then units. Without pitch and style this is the Base
stream: the units alone.

Shapes: R runs of equal units, P pitch codes, Y style codes, N tokens.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spiritlm_pl.contracts.speech_tokenizer import PITCH_RATE, STYLE_RATE, SpeechLayout
from spiritlm_pl.vocabulary import TokenKind, Vocabulary

Integers = npt.NDArray[np.int64]
AnyIntegers = npt.NDArray[np.integer[Any]]

# Units a second: their own rate, and the one with which the published stream counts their time.
BASE_RATE, UNIT_RATE = 25.0, 24.99
NONE = -1  # a unit's pitch or style where the stream has none
_ORDER = {TokenKind.STYLE: 0, TokenKind.PITCH: 1, TokenKind.UNIT: 2}


@dataclass(frozen=True, eq=False)
class SpeechTokens:
    """The tokens of a stretch of speech in their order.

    Attributes:
        kinds: (N,) values of `TokenKind`.
        values: (N,) units, pitch codes and style codes.
        times: (N,) seconds by which they are sorted.
        starts: (N,) seconds at which they start in the recording, which differ for units: see `UNIT_RATE`.
    """

    kinds: Integers
    values: Integers
    times: npt.NDArray[np.float64]
    starts: npt.NDArray[np.float64]

    def ids(self, vocabulary: Vocabulary) -> Integers:
        """(N,) token ids.

        Raises:
            ValueError: if a value is outside the vocabulary.
        """
        result = np.empty_like(self.values)
        for kind in _ORDER:
            first, end = vocabulary.kind_bounds()[kind]
            chosen = self.kinds == kind
            values = self.values[chosen]
            if len(values) and not 0 <= values.min() <= values.max() < end - first:
                wrong = next(int(value) for value in values if not 0 <= value < end - first)
                raise ValueError(f"{kind.name.lower()} must be in [0, {end - first}), but is {wrong} instead")
            result[chosen] = values + first
        return result


def run_starts(codes: AnyIntegers) -> Integers:
    """First frame of every run of equal codes (P,)."""
    return np.flatnonzero(np.diff(codes.astype(np.int64), prepend=NONE)) if len(codes) else np.zeros(0, np.int64)


def merge(
    units: AnyIntegers,
    unit_starts: AnyIntegers,
    pitches: AnyIntegers | None = None,
    styles: AnyIntegers | None = None,
    unit_rate: float = UNIT_RATE,
    pitch_rate: float = PITCH_RATE,
    frame_rate: float | None = None,
) -> SpeechTokens:
    """Sort the kinds into one stream.

    Args:
        units: (R,) neighbours differ.
        unit_starts: (R,) frame at which each starts.
        pitches: (P,) codes at `pitch_rate`; None where there are none.
        styles: (Y,) codes at one a second; None where there are none.
        unit_rate: frames of units a second.
        pitch_rate: pitch codes a second.
        frame_rate: frames of units a second in the recording; None for `unit_rate`.
    """
    kinds, values, times = [], [], []
    if styles is not None:
        kinds.append(np.full(len(styles), TokenKind.STYLE))
        values.append(styles)
        times.append(np.arange(len(styles)) / STYLE_RATE)
    if pitches is not None:
        starts = run_starts(pitches)
        kinds.append(np.full(len(starts), TokenKind.PITCH))
        values.append(pitches[starts])
        times.append(starts / pitch_rate)
    kinds.append(np.full(len(units), TokenKind.UNIT))
    values.append(units)
    times.append(unit_starts / unit_rate)
    time = np.concatenate(times).astype(np.float64)
    start = np.concatenate([*times[:-1], unit_starts / (frame_rate or unit_rate)]).astype(np.float64)
    order = np.argsort(time, kind="stable")  # the kinds stand in the order of ties
    kind, value = (np.concatenate(parts).astype(np.int64) for parts in (kinds, values))
    return SpeechTokens(kind[order], value[order], time[order], start[order])


def speech_stream(
    units: AnyIntegers,
    unit_starts: AnyIntegers,
    pitches: AnyIntegers | None,
    styles: AnyIntegers | None,
    layout: SpeechLayout,
    vocabulary: Vocabulary,
) -> SpeechTokens:
    """The stream that a vocabulary asks for: all kinds, or for Base the units alone.

    Args:
        units: (R,) neighbours differ.
        unit_starts: (R,) frame at which each starts.
        pitches: (P,) codes; None where the tokenizer is Base.
        styles: (Y,) codes; None where the tokenizer is Base.
        layout: of the tokenizer.
        vocabulary: of the language model.

    Raises:
        ValueError: if the vocabulary has pitch and style, but the tokenizer has not.
    """
    if not vocabulary.expressive:
        return merge(units, unit_starts, unit_rate=layout.frame_rate)
    if pitches is None or styles is None:
        raise ValueError(
            f"speech must have pitch and style codes for a vocabulary with {vocabulary.num_pitches} pitches and "
            f"{vocabulary.num_styles} styles, but has units alone instead: take an expressive tokenizer"
        )
    rate = layout.frame_rate
    return merge(units, unit_starts, pitches, styles, unit_rate=rate * UNIT_RATE / BASE_RATE, frame_rate=rate)


def split(kinds: AnyIntegers, values: AnyIntegers) -> tuple[Integers, Integers, Integers]:
    """Units, and the pitch and style of each.

    A unit has the latest pitch and style before it; before the first, the first one that comes.

    Args:
        kinds: (N,) values of `TokenKind`.
        values: (N,).

    Returns:
        units, pitches and styles, all (R,); -1 for all of a kind that does not occur.
    """
    places = np.flatnonzero(kinds == TokenKind.UNIT)

    def latest(kind: TokenKind) -> Integers:
        found = np.flatnonzero(kinds == kind)
        if not len(found):
            return np.full(len(places), NONE, dtype=np.int64)
        before = np.searchsorted(found, places) - 1
        return values[found[np.maximum(before, 0)]].astype(np.int64)

    return values[places].astype(np.int64), latest(TokenKind.PITCH), latest(TokenKind.STYLE)
