"""Praat TextGrid files (the text formats, long and short) as alignments.

Praat itself reads both formats by one rule, and so does this: only free-standing numbers, quoted strings
and flags in angle brackets count, in order; everything else is comment. What is left is
    "ooTextFile" "TextGrid" xmin xmax <exists> number-of-tiers, and then for each tier
    "IntervalTier" name xmin xmax number-of-intervals, and for each of these xmin xmax text;
    "TextTier" (points) has time and mark instead.
Source: the chapter "TextGrid file formats" of the Praat manual.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spiritlm_pl.alignment.contract import Aligned
from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.word_times import is_silence

_TOKEN = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"|<(?P<flag>\w+)>|(?P<comment>!.*)'
    r"|(?<!\S)(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)|(?P<word>[^\s\"]+)"
)


@dataclass(frozen=True)
class Tier:
    """A named row of labelled intervals; a tier of points has intervals without length."""

    name: str
    intervals: list[Word]


def _decode(content: bytes) -> str:
    """Text by its byte order mark; else UTF-8, else Latin-1, as old versions of Praat wrote it."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _values(text: str) -> Iterator[str | float]:
    """Strings and numbers of a file, in order; a flag is the string "<flag>"."""
    for match in _TOKEN.finditer(text):
        if match["text"] is not None:
            yield match["text"].replace('""', '"')
        elif match["flag"] is not None:
            yield f"<{match['flag']}>"
        elif match["number"] is not None:
            yield float(match["number"])


class _Reader:
    """Takes values of an expected kind."""

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


def parse_textgrid(text: str) -> list[Tier]:
    """Tiers of a TextGrid.

    Raises:
        ValueError: if the text is no TextGrid, or ends early.
    """
    reader = _Reader(text)
    if not reader.string("file type").startswith("ooTextFile") or reader.string("object class") != "TextGrid":
        raise ValueError('file must begin with "ooTextFile" and "TextGrid", but does not')
    reader.number("xmin"), reader.number("xmax")
    if reader.string("flag of tiers") != "<exists>":
        return []
    return [_read_tier(reader) for _ in range(reader.count("number of tiers"))]


def read_textgrid(path: str | Path) -> list[Tier]:
    """Tiers of a TextGrid file in UTF-8 or UTF-16.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no TextGrid in text format, or is damaged; the message names the file.
    """
    try:
        return parse_textgrid(_decode(Path(path).read_bytes()))
    except ValueError as error:
        raise ValueError(f"{path} must be a TextGrid in text format, but is not: {error}") from error


def _labelled(tier: Tier) -> list[Word]:
    return [item for item in tier.intervals if not is_silence(item.text) and item.end > item.start]


def _find(tiers: list[Tier], name: str, path: str | Path) -> Tier:
    found = [tier for tier in tiers if tier.name == name] or [
        tier for tier in tiers if tier.name.strip().lower() == name.strip().lower()
    ]
    if not found:
        names = ", ".join(repr(tier.name) for tier in tiers) or "no tiers"
        raise ValueError(f"tier must be one of {path}, but is {name!r} instead; there are {names}")
    return found[0]


def textgrid_alignment(path: str | Path, word_tier: str = "words", phone_tier: str | None = None) -> Aligned:
    """Words and phones of a TextGrid file, empty and silent intervals left out; times as in the file.

    Args:
        path: the file.
        word_tier: name of the tier of words; upper and lower case are the same if none fits exactly.
        phone_tier: name of the tier of phones; None for "phones" where there is one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, or has no such tier.
    """
    tiers = read_textgrid(path)
    words = _labelled(_find(tiers, word_tier, path))
    if phone_tier is None and not any(tier.name.strip().lower() == "phones" for tier in tiers):
        return Aligned(words)
    return Aligned(words, _labelled(_find(tiers, phone_tier or "phones", path)))
