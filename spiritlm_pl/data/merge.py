"""Merging of several streams of speech tokens by time, and the way back (arXiv 2402.05755, section 3.2).

A run of equal codes of a deduplicated stream is one token with the time of its first frame. At equal times, tokens
follow the `order` of their streams (in Spirit LM style, then pitch, then units), and the codebooks of a stream their
own order. A single stream, as in Base, is left as it is. Delays of codebooks do not count here: they are applied to
stretches of speech, see `spiritlm_pl.data.steps`.

Shapes: R runs of equal units, K codebooks, F codes of a further stream, N tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spiritlm_pl.streams import PITCH, STYLE, UNIT, SpeechLayout, Stream
from spiritlm_pl.vocabulary import Vocabulary

Integers = npt.NDArray[np.int64]
AnyIntegers = npt.NDArray[np.integer[Any]]

NONE = -1  # pitch or style of a unit where the sequence has none


@dataclass(frozen=True, eq=False)
class SpeechTokens:
    """Tokens of a stretch of speech, in their order.

    Attributes:
        of: streams of the vocabulary for which the tokens were merged.
        streams: place of each token's stream in `of` (N,).
        values: place of each token within its stream, code + codebook * size (N,).
        times: times in seconds by which the tokens are sorted (N,).
        starts: times in seconds at which the tokens start in the recording (N,). For units they differ from `times`,
            see `Stream.clock`.
    """

    of: tuple[Stream, ...]
    streams: Integers
    values: Integers
    times: npt.NDArray[np.float64]
    starts: npt.NDArray[np.float64]

    def ids(self, vocabulary: Vocabulary) -> Integers:
        """Return the token ids (N,).

        Raises:
            ValueError: if the tokens were merged for a vocabulary of other streams.
        """
        own, theirs = (
            [(stream.name, stream.size, stream.num_codebooks) for stream in streams]
            for streams in (self.of, vocabulary.streams)
        )
        if own != theirs:
            raise ValueError(
                f"speech tokens must be of the vocabulary's {vocabulary.layout}, but are of {SpeechLayout(self.of)}"
            )
        first = np.array([vocabulary.bounds(stream.name)[0] for stream in vocabulary.streams], dtype=np.int64)
        return first[self.streams] + self.values


def run_starts(codes: AnyIntegers) -> Integers:
    """Return the first frame of every run of equal codes (R,)."""
    return np.flatnonzero(np.diff(codes.astype(np.int64), prepend=NONE)) if len(codes) else np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Ragged:
    """Codes of several utterances, one after the other.

    Attributes:
        values: codes of all utterances, (R,) or (R, K).
        counts: number of codes, or frames of K codes, of each utterance (U,).
    """

    values: AnyIntegers
    counts: Integers

    @property
    def rows(self) -> Integers:
        """Place of the utterance that each of the codes belongs to (R,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


def merge(
    units: AnyIntegers,
    unit_starts: AnyIntegers,
    codes: Mapping[str, AnyIntegers],
    layout: SpeechLayout,
    streams: Sequence[Stream],
) -> SpeechTokens:
    """Sort the tokens of several streams of one utterance into one sequence; see `merge_many`."""
    further = {name: Ragged(found, np.array([len(found)])) for name, found in codes.items()}
    return merge_many(Ragged(units, np.array([len(units)])), unit_starts, further, layout, streams)[0]


def merge_many(
    units: Ragged,
    unit_starts: AnyIntegers,
    codes: Mapping[str, Ragged],
    layout: SpeechLayout,
    streams: Sequence[Stream],
) -> tuple[SpeechTokens, Integers]:
    """Sort the tokens of several streams into one sequence for each utterance.

    Args:
        units: codes of the layout's first stream, (R,) or (R, K) in all; neighbours within an utterance differ where it
            is deduplicated.
        unit_starts: frame at which each of them starts in its utterance (R,).
        codes: codes of each further stream by its name, (F,) or (F, K) in all, at its rate; streams that are not asked
            for may be missing.
        layout: streams of the tokenizer, with their rates.
        streams: streams of the vocabulary, which are the ones to merge.

    Returns:
        The tokens of all utterances, one after the other, and the number of tokens of each utterance (U,).

    Raises:
        ValueError: if a code is out of the range of its stream.
    """
    indices, values, times, starts, rows = [], [], [], [], []
    for index in sorted(range(len(streams)), key=lambda index: streams[index].order):
        stream = streams[index]
        rate = layout.rate(stream.name)
        if stream.name == layout.first.name:
            found, frames, row = units.values, unit_starts, units.rows
        else:
            found, row = codes[stream.name].values, codes[stream.name].rows
            begins = np.concatenate([[0], np.cumsum(codes[stream.name].counts)])[:-1]
            kept = _run_starts(found, begins) if stream.deduplicated else np.arange(len(found))
            found, row = found[kept], row[kept]
            frames = kept - begins[row]
        table = found.reshape(len(found), stream.num_codebooks).astype(np.int64)
        if table.size and not 0 <= table.min() <= table.max() < stream.size:
            wrong = next(int(value) for value in table.flat if not 0 <= value < stream.size)
            raise ValueError(f"{stream.name} must be in [0, {stream.size}), but is {wrong} instead")
        for codebook in range(stream.num_codebooks):
            indices.append(np.full(len(table), index))
            values.append(table[:, codebook] + codebook * stream.size)
            times.append(frames / (rate * stream.clock))
            starts.append(frames / rate)
            rows.append(row)
    time, start = (np.concatenate(parts).astype(np.float64) for parts in (times, starts))
    place, value, owner = (np.concatenate(parts).astype(np.int64) for parts in (indices, values, rows))
    counts = np.bincount(owner, minlength=len(units.counts))
    if len(values) == 1:  # in order already
        return SpeechTokens(tuple(streams), place, value, time, start), counts
    order = np.lexsort((time, owner))  # stable, since at equal times the streams are in their order already
    return SpeechTokens(tuple(streams), place[order], value[order], time[order], start[order]), counts


def _run_starts(codes: AnyIntegers, begins: Integers) -> Integers:
    """Return the first frame of every run of equal codes; a run also ends where an utterance begins."""
    if not len(codes):
        return np.zeros(0, np.int64)
    changed = np.diff(codes.astype(np.int64), prepend=NONE) != 0
    changed[begins[begins < len(codes)]] = True
    return np.flatnonzero(changed)


def speech_stream(
    units: AnyIntegers,
    unit_starts: AnyIntegers,
    codes: Mapping[str, AnyIntegers],
    layout: SpeechLayout,
    vocabulary: Vocabulary,
) -> SpeechTokens:
    """Merge the streams that a vocabulary has; for Base these are the units alone.

    Args:
        units: codes of the layout's first stream, (R,) or (R, K).
        unit_starts: frame at which each of them starts (R,).
        codes: codes of each further stream by its name, (F,) or (F, K), at its rate.
        layout: streams of the tokenizer, with their rates.
        vocabulary: vocabulary of the language model.

    Raises:
        ValueError: if the speech lacks a stream of the vocabulary, or a code is out of the range of its stream.
    """
    check_streams((layout.first.name, *codes), vocabulary)
    return merge(units, unit_starts, codes, layout, vocabulary.streams)


def check_streams(names: Sequence[str], vocabulary: Vocabulary) -> None:
    """Raise a ValueError if speech with streams of these names lacks one that a vocabulary has."""
    missing = [name for name in vocabulary.layout.names if name not in names]
    if missing and vocabulary.expressive:
        raise ValueError(
            f"speech must have pitch and style codes for a vocabulary with {vocabulary.size(PITCH)} pitches and "
            f"{vocabulary.size(STYLE)} styles, but has units alone instead: take an expressive tokenizer"
        )
    if missing:
        raise ValueError(f"speech must have the streams of the vocabulary, but lacks {', '.join(missing)}")


def speech_places(tokens: Sequence[int], vocabulary: Vocabulary) -> tuple[Integers, Integers]:
    """Find the stream of each speech token id (N,), by its place in the vocabulary, and its place in that stream (N,).

    Raises:
        ValueError: if an id is not of speech.
    """
    ids = np.array(tokens, dtype=np.int64)
    first, end = vocabulary.speech_bounds
    strange = (ids < first) | (ids >= end)
    if strange.any():
        names = ", ".join(vocabulary.layout.names)
        raise ValueError(f"tokens must be of speech ({names}), but {ids[strange][0]} is not")
    starts = np.array([vocabulary.bounds(name)[0] for name in vocabulary.layout.names], dtype=np.int64)
    streams = np.searchsorted(starts, ids, side="right") - 1
    return streams, ids - starts[streams]


def units_with_expression(
    names: Sequence[str], streams: AnyIntegers, values: AnyIntegers
) -> tuple[Integers, Integers, Integers]:
    """Return the units of Spirit LM, and the pitch and style of each.

    A unit gets the latest pitch and style before it; units before the first pitch or style get that first one.

    Args:
        names: names of the streams.
        streams: place in `names` of each token's stream (N,).
        values: code of each token (N,).

    Returns:
        Units, pitches and styles, all (R,). Pitches or styles are all -1 where the sequence has none.
    """

    def places_of(name: str) -> Integers:
        return np.flatnonzero(streams == names.index(name)) if name in names else np.zeros(0, dtype=np.int64)

    places = places_of(UNIT)

    def latest(name: str) -> Integers:
        found = places_of(name)
        if not len(found):
            return np.full(len(places), NONE, dtype=np.int64)
        before = np.searchsorted(found, places) - 1
        return values[found[np.maximum(before, 0)]].astype(np.int64)

    return values[places].astype(np.int64), latest(PITCH), latest(STYLE)
