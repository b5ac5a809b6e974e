"""Utterances of a table of paths and texts, one a row; rows that cannot be read are skipped one by one.

Rows are parsed separately, since a quote that is not closed would otherwise take in the rows after it, and an unquoted
text with commas would lose what follows the first comma.
"""

import csv
import logging
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.files import path_id, read_text
from spiritlm_pl.corpora.ingest import FILE_SLACK, Utterance
from spiritlm_pl.corpora.manifest import named
from spiritlm_pl.corpora.overlaps import MAX_OVERLAP, without_disturbed
from spiritlm_pl.corpora.sources.columns import NAMES, REQUIRED, Column, channels_by_name, find_columns, has_required
from spiritlm_pl.corpora.sources.folder import distinct_ids
from spiritlm_pl.corpora.splitting import by_split
from spiritlm_pl.corpora.text.numbers import language_code
from spiritlm_pl.runtime.found import check_folder, found_at

logger = logging.getLogger(__name__)
LATEST = 1e9  # largest time within a file in seconds, some 30 years
_DELIMITERS = ",;\t|"  # delimiters to try for a .csv file
_Audio = tuple[Path, float, float | None, int | None]


@dataclass(frozen=True)
class _Row:
    """A row of the table.

    Attributes:
        line: number of the line on which it starts, 1 for the first.
        fields: its fields; empty if it cannot be read.
        fault: reason why it cannot be read; None if it can.
    """

    line: int
    fields: Sequence[str] = ()
    fault: str | None = None


def _parse(text: str, delimiter: str, quoted: bool) -> list[str] | None:
    """Split one row into fields; None if a quote is not closed, or is closed within a field."""
    if not quoted:
        return text.split(delimiter)
    try:
        rows = list(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _rows(lines: Sequence[str], delimiter: str, quoted: bool, width: int) -> Iterator[_Row]:
    """Yield the rows after the header.

    A quoted field may hold line breaks, unless one of its lines is a row by itself.
    """
    at = 1
    while at < len(lines):
        line, text = at + 1, lines[at]
        fields = _parse(text, delimiter, quoted)
        following = at + 1
        while fields is None and following < len(lines):
            alone = _parse(lines[following], delimiter, quoted)
            if alone is not None and len(alone) == width:
                break
            text += "\n" + lines[following]
            following += 1
            fields = _parse(text, delimiter, quoted)
        if fields is None:
            yield _Row(line, fault="a quote in it is not closed, or does not begin and end its field")
        elif "\0" in text:
            yield _Row(line, fault="it holds a NUL character")
        elif len(fields) > width:
            yield _Row(line, fault=f"it has {len(fields)} fields, but the header has {width}: quote texts with commas")
        elif text.strip():
            yield _Row(line, fields)
        at = at + 1 if fields is None else following


def _header(table: Path, line: str) -> tuple[str, dict[str, Column], int]:
    """Return the delimiter, the columns of known kinds, and the number of all columns."""
    tried = _DELIMITERS if table.suffix.lower() == ".csv" else "\t"
    for delimiter in tried:
        names = [name.strip() for name in _parse(line, delimiter, tried != "\t") or ()]
        if has_required(names):
            return delimiter, find_columns(names, table), len(names)
    wanted = " and one of ".join(f"{kind} ({', '.join(NAMES[kind])})" for kind in REQUIRED)
    raise ValueError(f"table must have a column of {wanted}, but {table} begins with {line[:200]!r} instead")


def read_table(
    table: str | Path, audio_root: str | Path | None = None, language: str = "en", max_overlap: float = MAX_OVERLAP
) -> tuple[list[Utterance] | dict[str, list[Utterance]], list[Skipped]]:
    """Read the utterances of a .csv or .tsv table whose header names columns of paths, texts and, if known, speakers.

    Columns of start and end (or start and duration), in seconds or milliseconds, cut an utterance out of a longer file;
    a duration alone is that of the file. Further columns may give language, channel and split. A speaker or style that
    the table does not give is left empty, since it is not known which utterances share it.

    Args:
        table: path of the table.
        audio_root: folder to which paths in the table are relative; None for the folder of the table.
        language: language of transcripts for which the table names none.
        max_overlap: longest time in seconds for which another speaker may talk in an utterance.

    Returns:
        The utterances, by split if the table tells which are held out; and the rows that cannot be read, repeat another
        row's audio, or are of audio in which another speaker talks.

    Raises:
        FileNotFoundError: if there is no such file, or no such folder.
        NotADirectoryError: if the folder is a file.
        ValueError: if it lacks a column, has times that cannot be read, or is in no known encoding.
    """
    table = Path(table)
    if not table.is_file():
        raise FileNotFoundError(f"table must be a .csv or .tsv file, but {found_at(table)}")
    try:
        lines = read_text(table).split("\n")
    except ValueError as error:
        raise ValueError(f"table must be UTF-8 or UTF-16 text, but {error}") from error
    delimiter, columns, width = _header(table, lines[0])
    rows = [*_rows(lines, delimiter, table.suffix.lower() == ".csv", width)]
    if audio_root:
        check_folder(audio_root, "audio", "folder of audio")
    root = Path(audio_root) if audio_root else table.parent
    reader = _Reader(columns, root, language, _channels(rows, columns, table))
    utterances: list[Utterance] = []
    skipped: list[Skipped] = []
    first_lines: dict[_Audio, int] = {}
    splits: dict[_Audio, str] = {}
    for row in rows:
        where = f"{table.name}:{row.line}"
        try:
            utterance = reader.utterance(row)
        except ValueError as error:
            skipped.append(Skipped(where, str(table), f"row in line {row.line} of {table} cannot be used: {error}"))
            continue
        audio = _audio(utterance)
        if (first := first_lines.setdefault(audio, row.line)) != row.line:
            whole = ", the whole file: no column tells where utterances start" if "start" not in columns else ""
            reason = f"row in line {row.line} of {table} is of the same audio as that in line {first}{whole}"
            skipped.append(Skipped(where, str(utterance.path), reason))
            continue
        splits[audio] = named(_cell(row, columns.get("split")))
        utterances.append(utterance)
    _tell_languages(utterances, language, table)
    kept, disturbed = without_disturbed(distinct_ids(utterances), max_overlap)
    return _by_split(kept, splits) if "split" in columns else kept, [*skipped, *disturbed]


def _by_split(
    utterances: Sequence[Utterance], names: Mapping[_Audio, str]
) -> dict[str, list[Utterance]] | list[Utterance]:
    """Group utterances by the split that the table gives."""
    parts: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        parts.setdefault(names[_audio(utterance)], []).append(utterance)
    return by_split(parts)


def _audio(utterance: Utterance) -> _Audio:
    return utterance.path, utterance.start, utterance.duration, utterance.channel


def _cell(row: _Row, column: Column | None) -> str:
    return row.fields[column.place].strip() if column is not None and column.place < len(row.fields) else ""


def _channels(rows: Sequence[_Row], columns: Mapping[str, Column], table: Path) -> Mapping[str, int]:
    """Return the channels by the names that the table uses for them."""
    if "channel" not in columns:
        return {}
    cells = {named(_cell(row, columns["channel"])) for row in rows} - {""}
    return channels_by_name(cells, columns["channel"], table) if cells else {}


def _tell_languages(utterances: Sequence[Utterance], language: str, table: Path) -> None:
    names = {utterance.language for utterance in utterances}
    if any(language_code(one) != language_code(language) for one in names):
        logger.warning("utterances are in the languages that %s names: %s", table, ", ".join(sorted(names)))


@dataclass(frozen=True)
class _Reader:
    """Reader of utterances from rows."""

    columns: Mapping[str, Column]
    root: Path
    language: str
    channels: Mapping[str, int]

    def utterance(self, row: _Row) -> Utterance:
        """Make an utterance of the fields of a row.

        Raises:
            ValueError: if the row cannot be used; the message says why.
        """
        if row.fault is not None:
            raise ValueError(row.fault)
        values = {kind: _cell(row, column) for kind, column in self.columns.items()}
        if not values["path"]:
            raise ValueError("it names no file")
        if self.columns["text"].place >= len(row.fields):
            raise ValueError("it ends before the text")
        start, duration = self._span(values)
        of_file, rounding = self._of_file(values) if duration is None else (None, 0.0)
        name = Path(values["path"])
        part = "" if duration is None else f"-{_milliseconds(start)}-{_milliseconds(start + duration)}"
        style = named(values.get("style"))
        return Utterance(
            unicodedata.normalize("NFC", path_id(name)) + part,
            _existing(self.root / name),
            values["text"],
            named(values.get("speaker")),
            named(values.get("language")) or self.language,
            start,
            duration,
            self.channels.get(values.get("channel", "")),
            custom={"style": style} if style else None,
            file_duration=of_file,
            file_slack=FILE_SLACK + rounding,
        )

    def _span(self, values: Mapping[str, str]) -> tuple[float, float | None]:
        """Return start and duration in seconds; (0, None) if only a duration is given, which is that of the file."""
        given = {kind: values[kind] for kind in ("start", "end", "duration") if values.get(kind)}
        if "start" not in given and "end" not in given:
            return 0.0, None
        if "start" not in given or len(given) == 1:
            raise ValueError(f"it must tell where the utterance starts and ends, but has {given} alone")
        numbers = {kind: self._seconds(kind, text)[0] for kind, text in given.items()}
        start = numbers["start"]
        end = numbers.get("end", start + numbers.get("duration", math.nan))
        if not 0 <= start < LATEST or not start < end < LATEST:
            raise ValueError(f"start and end must be seconds, the end after the start, but are {given} instead")
        if "end" in given and "duration" in given:
            duration, rounding = self._seconds("duration", given["duration"])
            if not abs(end - start - duration) <= FILE_SLACK + rounding:
                raise ValueError(f"duration must be the time from start to end, but they are {given} instead")
        return start, round(end - start, 6)

    def _of_file(self, values: Mapping[str, str]) -> tuple[float | None, float]:
        """Return the length in seconds that the file should have, and the rounding error of this number."""
        kind = "duration" if "duration" in values else "file_duration"
        text = named(values.get(kind))
        if not text:
            return None, 0.0
        seconds, rounding = self._seconds(kind, text)
        if not 0 < seconds < LATEST:
            raise ValueError(f"duration must be seconds, but is {text!r} instead")
        return seconds, rounding

    def _seconds(self, kind: str, text: str) -> tuple[float, float]:
        """Return the seconds of a cell (nan if it is no number), and half the value of its last digit."""
        scale = self.columns[kind].scale
        try:
            return float(text) * scale, 0.5 * scale * 10.0 ** -len(text.partition(".")[2])
        except ValueError:
            return math.nan, 0.0


def _milliseconds(seconds: float) -> str:
    return f"{round(1000 * seconds):07d}"


def _existing(path: Path) -> Path:
    """Return the path in the Unicode form that exists on disk: some systems write é as two characters."""
    forms = (Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD"))
    return path if path.exists() else next((form for form in forms if form.exists()), path)
