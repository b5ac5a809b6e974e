"""A table of paths and texts: one utterance a row, and a row that cannot be read costs itself alone.

Rows are read one by one. A quote that opens and does not close would otherwise swallow the rows after it, and a text
with commas that is not quoted loses what stands after the first.
"""

import csv
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spiritlm_pl.corpora.files import path_id, read_text
from spiritlm_pl.corpora.folder import distinct_ids
from spiritlm_pl.corpora.ingest import Utterance
from spiritlm_pl.corpora.manifest import Skipped
from spiritlm_pl.corpora.overlaps import MAX_OVERLAP, without_disturbed

_COLUMNS = {
    "path": ("path", "audio", "file", "filename", "file_name", "wav", "audio_path", "audio_filepath"),
    "text": ("text", "transcript", "sentence", "transcription"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "style": ("style", "emotion"),
    "start": ("start", "start_time", "begin", "offset"),
    "end": ("end", "end_time", "stop"),
    "duration": ("duration",),
}
_REQUIRED = ("path", "text")
LATEST = 1e9  # seconds within a file; some 30 years
_DELIMITERS = ",;\t|"  # of a .csv


@dataclass(frozen=True)
class _Row:
    """A row with the line on which it starts; its fields, or what is wrong with it."""

    line: int
    fields: Sequence[str] = ()
    fault: str | None = None


def _parse(text: str, delimiter: str, quoted: bool) -> list[str] | None:
    """Fields of one row; None if a quote does not close, or closes within a field."""
    if not quoted:
        return text.split(delimiter)
    try:
        rows = list(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _rows(lines: Sequence[str], delimiter: str, quoted: bool, width: int) -> Iterator[_Row]:
    """Rows after the header. A quoted field may hold line breaks, unless a line of it is a row by itself."""
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


def _header(table: Path, line: str) -> tuple[str, dict[str, int], int]:
    """Delimiter, places of the columns that are known, and how many there are."""
    tried = _DELIMITERS if table.suffix.lower() == ".csv" else "\t"
    for delimiter in tried:
        names = [name.strip().lower() for name in _parse(line, delimiter, tried != "\t") or ()]
        found = ((kind, next((name for name in known if name in names), None)) for kind, known in _COLUMNS.items())
        places = {kind: names.index(name) for kind, name in found if name is not None}
        if all(kind in places for kind in _REQUIRED):
            return delimiter, places, len(names)
    wanted = " and one of ".join(f"{kind} ({', '.join(_COLUMNS[kind])})" for kind in _REQUIRED)
    raise ValueError(f"table must have a column of {wanted}, but {table} begins with {line[:200]!r} instead")


def read_table(
    table: str | Path, audio_root: str | Path | None = None, language: str = "en", max_overlap: float = MAX_OVERLAP
) -> tuple[list[Utterance], list[Skipped]]:
    """Rows of a .csv or .tsv, with a header that names columns of paths, texts and, if known, speakers and styles.

    Columns of start and end (or start and duration), in seconds, cut an utterance out of a longer file. A speaker or
    style that the table does not tell is left empty: nobody knows which utterances share it.

    Args:
        table: the file; a path in it is relative to `audio_root`.
        audio_root: None for the folder of the table.
        language: of all transcripts.
        max_overlap: seconds for which another speaker may talk in an utterance.

    Returns:
        utterances, and the rows that cannot be read, repeat another, or in which another speaker talks.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it lacks a column, or is in no known encoding.
    """
    table = Path(table)
    if not table.is_file():
        raise FileNotFoundError(f"table must be a .csv or .tsv file, but {table} is missing instead")
    try:
        lines = read_text(table).split("\n")
    except ValueError as error:
        raise ValueError(f"table must be UTF-8 or UTF-16 text, but {error}") from error
    delimiter, places, width = _header(table, lines[0])
    root = Path(audio_root) if audio_root else table.parent
    utterances: list[Utterance] = []
    skipped: list[Skipped] = []
    first_lines: dict[tuple[Path, float, float | None], int] = {}
    for row in _rows(lines, delimiter, table.suffix.lower() == ".csv", width):
        where = f"{table.name}:{row.line}"
        values = {kind: row.fields[at].strip() for kind, at in places.items() if at < len(row.fields)}
        try:
            if row.fault is not None:
                raise ValueError(row.fault)
            utterance = _utterance(values, root, language)
        except ValueError as error:
            skipped.append(Skipped(where, str(table), f"row in line {row.line} of {table} cannot be used: {error}"))
            continue
        audio = (utterance.path, utterance.start, utterance.duration)
        if (first := first_lines.setdefault(audio, row.line)) != row.line:
            reason = f"row in line {row.line} of {table} is of the same audio as that in line {first}"
            skipped.append(Skipped(where, str(utterance.path), reason))
            continue
        utterances.append(utterance)
    kept, disturbed = without_disturbed(distinct_ids(utterances), max_overlap)
    return kept, [*skipped, *disturbed]


def _utterance(values: dict[str, str], root: Path, language: str) -> Utterance:
    """An utterance of the fields of a row.

    Raises:
        ValueError: with what is wrong.
    """
    if not values.get("path"):
        raise ValueError("it names no file")
    if "text" not in values:
        raise ValueError("it ends before the text")
    start, duration = _span(values)
    name = Path(values["path"])
    part = "" if start == 0 and duration is None else f"-{_milliseconds(start)}"
    part += "" if duration is None else f"-{_milliseconds(start + duration)}"
    style = values.get("style")
    return Utterance(
        unicodedata.normalize("NFC", path_id(name)) + part,
        _existing(root / name),
        values["text"],
        values.get("speaker", ""),
        language,
        start,
        duration,
        custom={"style": style} if style else None,
    )


def _span(values: dict[str, str]) -> tuple[float, float | None]:
    """Start and duration in seconds; a duration without a start is that of the file."""
    given = {kind: values[kind] for kind in ("start", "end", "duration") if values.get(kind)}
    if "start" not in given and "end" not in given:
        return 0.0, None
    try:
        numbers = {kind: float(text) for kind, text in given.items()}
    except ValueError:
        numbers = {kind: math.nan for kind in given}
    start = numbers.get("start", 0.0)
    end = numbers.get("end", start + numbers["duration"] if "duration" in numbers else None)
    if not 0 <= start < LATEST or (end is not None and not start < end < LATEST):
        raise ValueError(f"start and end must be seconds, the end after the start, but are {given} instead")
    return start, None if end is None else round(end - start, 6)


def _milliseconds(seconds: float) -> str:
    return f"{round(1000 * seconds):07d}"


def _existing(path: Path) -> Path:
    """The path in the Unicode form in which the disk has it: some systems write é as two characters."""
    forms = (Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD"))
    return path if path.exists() else next((form for form in forms if form.exists()), path)
