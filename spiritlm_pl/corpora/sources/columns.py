"""What the columns of a table hold, by their names; what looks like a time, but cannot be read, is refused or told.

A time that is not read would give every row of a long file the whole of it.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)
REQUIRED = ("path", "text")
NAMES = {  # in plain form; of several columns of a kind, the first name counts
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
    "offset": r"offset",  # a start beside a duration, the end beside an onset
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
    """A column by its name in the header and its place; `scale` is the unit of a time, in seconds."""

    name: str
    place: int
    scale: float = 1.0


def has_required(names: Sequence[str]) -> bool:
    """Whether a header has columns of paths and texts."""
    plain = {_plain(name) for name in names}
    return all(plain.intersection(NAMES[kind]) for kind in REQUIRED)


def find_columns(names: Sequence[str], table: Path) -> dict[str, Column]:
    """Columns by what they hold: kinds of `NAMES`, start, end, duration (of a segment or a file), file_duration.

    Raises:
        ValueError: if times are in several columns or an unknown unit, or tell only where segments start, or end.
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
    """Find out whether an offset is where segments start or where they end; it is left out where both are told."""
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
    """One form for start_time, Start Time, startTime and "start-time"."""
    return re.sub(r"[\W_]+", "", name).lower()


def _words(name: str) -> set[str]:
    """Words of a name; startframe is two."""
    two = _IN_OTHER_UNITS.fullmatch(_plain(name))
    return {word.lower() for word in _IN_WORDS.findall(name)} | ({two[1]} if two else set())


def channels_by_name(cells: Iterable[str], column: Column, table: Path) -> Mapping[str, int]:
    """Channels, counted from 0, by what a table calls them: numbers from 0, or left and right.

    Raises:
        ValueError: if they are called otherwise, or count from 1 as it seems.
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
