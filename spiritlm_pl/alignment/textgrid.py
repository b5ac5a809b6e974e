"""Praat TextGrid files (the text formats, long and short) as alignments.

Praat reads both formats by one rule, which is followed here: only free-standing numbers, quoted strings and flags in
angle brackets count, in order; everything else is comment. The values that remain are
    "ooTextFile" "TextGrid" xmin xmax <exists> number-of-tiers, and then for each tier
    "IntervalTier" name xmin xmax number-of-intervals, and for each interval xmin xmax text;
    a "TextTier" (of points) has time and mark instead.
Source: the chapter "TextGrid file formats" of the Praat manual.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from spiritlm_pl.alignment.contract import Aligned
from spiritlm_pl.corpora.files import decode_text
from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.word_times import is_silence

_TOKEN = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"|<(?P<flag>\w+)>|(?P<comment>!.*)'
    r"|(?<!\S)(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)|(?P<word>[^\s\"]+)"
)


# Names that tools give their tiers: the Montreal Forced Aligner (without and with speakers), others, and MAUS.
WORD_TIERS = ("words", "* - words", "word", "ORT-MAU")
PHONE_TIERS = ("phones", "* - phones", "phone", "MAU")


@dataclass(frozen=True)
class Tier:
    """A named sequence of labelled intervals; the points of a tier of points are intervals without length."""

    name: str
    intervals: list[Word]


@dataclass(frozen=True)
class TextGrid:
    """The tiers of a TextGrid, and the time in seconds at which they end, which is the length of the audio."""

    tiers: list[Tier]
    end: float


def _values(text: str) -> Iterator[str | float]:
    """Yield the strings and numbers of a file in order; a flag becomes the string "<flag>"."""
    for match in _TOKEN.finditer(text):
        if match["text"] is not None:
            yield match["text"].replace('""', '"')
        elif match["flag"] is not None:
            yield f"<{match['flag']}>"
        elif match["number"] is not None:
            yield float(match["number"])


class _Reader:
    """Reader of a TextGrid's values that checks the kind of each."""

    def __init__(self, text: str) -> None:
        self._values = _values(text)

    def string(self, what: str) -> str:
        value = next(self._values, None)
        if not isinstance(value, str):
            raise ValueError(f"{what} must be a quoted string, but is {value} instead")
        return value

    def number(self, what: str) -> float:
        value = next(self._values, None)
        if not isinstance(value, float):
            raise ValueError(f"{what} must be a number, but is {value!r} instead")
        return value

    def end(self) -> None:
        value = next(self._values, None)
        if value is not None:
            raise ValueError(
                f"file must end after its tiers, but goes on with {value!r}: a count of intervals or tiers is too small"
            )

    def count(self, what: str) -> int:
        value = self.number(what)
        if value < 0 or value != int(value):
            raise ValueError(f"{what} must be a count, but is {value} instead")
        return int(value)


def _read_tier(reader: _Reader) -> Tier:
    kind = reader.string("class of a tier")
    if kind not in ("IntervalTier", "TextTier"):
        raise ValueError(f"class of a tier must be IntervalTier or TextTier, but is {kind!r} instead")
    name = reader.string("name of a tier")
    reader.number("xmin"), reader.number("xmax")
    intervals: list[Word] = []
    for _ in range(reader.count(f"number of intervals of tier {name!r}")):
        start = reader.number("xmin")
        end = reader.number("xmax") if kind == "IntervalTier" else start
        label = reader.string("text")
        if end < start:
            raise ValueError(f"interval {label!r} of {name!r} must end after {start}, but ends at {end} instead")
        intervals.append(Word(label.strip(), start, end))
    return Tier(name, intervals)


def parse_textgrid(text: str) -> TextGrid:
    """Parse the text of a TextGrid.

    Raises:
        ValueError: if the text is no TextGrid, or its counts of intervals or tiers do not match what follows.
    """
    reader = _Reader(text)
    if not reader.string("file type").startswith("ooTextFile") or reader.string("object class") != "TextGrid":
        raise ValueError('file must begin with "ooTextFile" and "TextGrid", but does not')
    reader.number("xmin")
    end = reader.number("xmax")
    if reader.string("flag of tiers") != "<exists>":
        return TextGrid([], end)
    tiers = [_read_tier(reader) for _ in range(reader.count("number of tiers"))]
    reader.end()
    return TextGrid(tiers, end)


def read_textgrid(path: str | Path) -> TextGrid:
    """Read a TextGrid file in UTF-8 or UTF-16, or in Latin-1, which old versions of Praat wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no TextGrid in text format, or is damaged; the message names the file.
    """
    try:
        return parse_textgrid(decode_text(Path(path).read_bytes(), fallback="latin-1"))
    except ValueError as error:
        raise ValueError(f"{path} must be a TextGrid in text format, but is not: {error}") from error


def _labelled(tier: Tier) -> list[Word]:
    return [item for item in tier.intervals if not is_silence(item.text) and item.end > item.start]


def _find(tiers: Sequence[Tier], patterns: Sequence[str]) -> Tier | None:
    """Return the tier that fits the first matching name or pattern; None if no tier fits any.

    A tier with exactly this name is preferred to others that fit if case is ignored.

    Raises:
        ValueError: if several tiers fit.
    """
    for pattern in patterns:
        found = [tier for tier in tiers if tier.name == pattern] or [
            tier for tier in tiers if fnmatchcase(tier.name.strip().lower(), pattern.strip().lower())
        ]
        if len(found) > 1:
            names = ", ".join(repr(tier.name) for tier in found)
            raise ValueError(f"tier {pattern!r} must be one tier, but {names} have this name: give another one")
        if found:
            return found[0]
    return None


def textgrid_alignment(path: str | Path, word_tier: str | None = None, phone_tier: str | None = None) -> Aligned:
    """Read the words and phones of a TextGrid file; empty and silent intervals are left out.

    Args:
        path: path of the TextGrid file.
        word_tier: name of the tier of words, or a pattern such as "* - words"; None for the first of `WORD_TIERS`.
        phone_tier: name or pattern of the tier of phones; None for the first of `PHONE_TIERS`, if there is one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, has no such tier, or has several.
    """
    grid = read_textgrid(path)
    tiers = grid.tiers
    names = ", ".join(repr(tier.name) for tier in tiers) or "no tiers"
    found = []
    for given, usual in ((word_tier, WORD_TIERS), (phone_tier, PHONE_TIERS)):
        try:
            tier = _find(tiers, usual if given is None else [given])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if tier is None and (given is not None or usual is WORD_TIERS):
            wanted = repr(given) if given is not None else " or ".join(map(repr, usual))
            raise ValueError(f"tier must be one of {path}, but is {wanted} instead; there are {names}")
        found.append(_labelled(tier) if tier is not None else [])
    return Aligned(words=found[0], phones=found[1], seconds=grid.end)
