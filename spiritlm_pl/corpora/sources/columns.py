"""Columns of a table of utterances, found by their names.

A column that looks like a time but cannot be read is refused or logged: with its times ignored, every row of a long
file would be given the whole file.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)
REQUIRED = ("path", "text")
NAMES = {  # names in the form of `_plain`; of several columns of a kind, the one named first here counts
    "path": ("path", "audio", "file", "filename", "wav", "audiopath", "audiofilepath"),
    "text": ("text", "transcript", "sentence", "transcription"),
    "speaker": ("speaker", "speakerid", "clientid"),
    "style": ("style", "emotion"),
    "language": ("language", "lang", "locale", "languagecode", "languageid", "langcode", "langid"),
    "channel": ("channel", "channelid"),
    "split": ("split", "partition"),
}
_OF_SEGMENT = r"(?:seg|segment|utt|utterance)?"
_TIMES = {
    "start": rf"(?:{_OF_SEGMENT}|audio|clip|time|t)(?:start|begin|onset|xmin|tmin)(?:time|timestamp)?",
    "end": rf"(?:{_OF_SEGMENT}|audio|clip|time|t)(?:end|stop|xmax|tmax)(?:time|timestamp)?",
    "offset": r"offset",  # it is a start beside a duration, but an end beside an onset
    "duration": rf"{_OF_SEGMENT}(?:duration|dur)",
    "file_duration": r"(?:audio|clip|file|wav|total)duration",
}
_UNITS = {1.0: "|s|secs?|seconds?", 0.001: "ms|msecs?|millis|milliseconds?"}
_PATTERNS = [
    (kind, scale, re.compile(rf"(?:{pattern})(?:in)?(?:{units})"))
    for kind, pattern in _TIMES.items()
    for scale, units in _UNITS.items()
]
_IN_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_IN_OTHER_UNITS = re.compile(r"(start|begin|end|stop)(?:frames?|samples?|index|idx|pos|position|bytes?)")
_STARTS = frozenset("start begin beginning onset offset xmin tmin".split())
_SUSPICIOUS = _STARTS | frozenset(
    "end stop xmax tmax from to time times timestamp timestamps segment segments duration durations dur length frames "
    "samples split fold subset set partition language lang locale channel channels".split()
)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: name in the header.
        place: index of the column, 0 for the first.
        scale: unit of a column of times, in seconds.
    """

    name: str
    place: int
    scale: float = 1.0


def has_required(names: Sequence[str]) -> bool:
    """Return whether a header has columns of paths and of texts."""
    plain = {_plain(name) for name in names}
    return all(plain.intersection(NAMES[kind]) for kind in REQUIRED)


def find_columns(names: Sequence[str], table: Path) -> dict[str, Column]:
    """Find columns by their kinds: those of `NAMES`, and start, end, duration (of a segment or a file), file_duration.

    Args:
        names: names of all columns, as in the header.
        table: path of the table, for messages.

    Raises:
        ValueError: if several columns hold the same time, a time has an unknown unit, or there are only starts or only
            ends.
    """
    plain = [_plain(name) for name in names]
    found = {
        kind: Column(names[plain.index(known)], plain.index(known))
        for kind, all_known in NAMES.items()
        for known in all_known[::-1]
        if known in plain
    }
    times = _times(names, plain, table)
    _place_offset(times, table)
    read = {column.place for column in (*found.values(), *times.values())}
    left = [name for place, name in enumerate(names) if place not in read and _words(name) & _SUSPICIOUS]
    if "start" not in times:
        starts = [name for name in left if _words(name) & _STARTS]
        if starts:
            raise ValueError(
                f"column {starts[0]!r} of {table} looks like the start of segments, but its unit is not known: "
                "name it start or start_ms, with end, end_ms, duration or duration_ms beside it"
            )
        if "end" in times:
            raise ValueError(f"{table} must tell where segments start, but has a column {times['end'].name!r} alone")
    elif "end" not in times and "duration" not in times:
        raise ValueError(
            f"{table} must tell where segments end, but has a column {times['start'].name!r} and no end or duration"
        )
    if left:
        logger.warning("columns of %s that are not read: %s", table, ", ".join(map(repr, left)))
    return {**found, **times}


def _times(names: Sequence[str], plain: Sequence[str], table: Path) -> dict[str, Column]:
    times: dict[str, Column] = {}
    for place, name in enumerate(plain):
        for kind, scale, pattern in _PATTERNS:
            if not pattern.fullmatch(name):
                continue
            if kind in times:
                two = f"{times[kind].name!r} and {names[place]!r}"
                raise ValueError(f"{table} must have one column of each time, but {two} are both of {kind}")
            times[kind] = Column(names[place], place, scale)
    return times


def _place_offset(times: dict[str, Column], table: Path) -> None:
    """Decide whether a column "offset" is the start or the end of segments; drop it if other columns give both."""
    offset = times.pop("offset", None)
    if offset is None:
        return
    if "start" not in times:
        times["start"] = offset
    elif "onset" in _plain(times["start"].name):
        times.setdefault("end", offset)
    elif "end" not in times and "duration" not in times:
        start = times["start"].name
        raise ValueError(f"{table} must tell where segments end, but {offset.name!r} beside {start!r} may be anything")


def _plain(name: str) -> str:
    """Return a form that is the same for start_time, Start Time, startTime and "start-time"."""
    return re.sub(r"[\W_]+", "", name).lower()


def _words(name: str) -> set[str]:
    """Return the words of a name in lower case; names such as startframe count as two words."""
    two = _IN_OTHER_UNITS.fullmatch(_plain(name))
    return {word.lower() for word in _IN_WORDS.findall(name)} | ({two[1]} if two else set())


def channels_by_name(cells: Iterable[str], column: Column, table: Path) -> Mapping[str, int]:
    """Map the names that a table uses for channels, numbers from 0, or left and right, to channels counted from 0.

    Raises:
        ValueError: if channels have other names, or seem to be counted from 1.
    """
    called = set(cells)
    sides = {"left": 0, "l": 0, "right": 1, "r": 1}
    if all(cell.lower() in sides for cell in called):
        return {cell: sides[cell.lower()] for cell in called}
    if all(re.fullmatch(r"\d{1,3}(?:\.0)?", cell) for cell in called):
        numbers = {cell: int(float(cell)) for cell in called}
        if 0 in numbers.values():
            return numbers
    listed = ", ".join(sorted(called)[:3])
    raise ValueError(
        f"column {column.name!r} of {table} must count channels from 0, or call them left and right, "
        f"but has {listed} instead: leave it out if files have one channel"
    )
