"""Rows of files of conversations, as dictionaries: JSON lines, a list in a JSON file, Parquet, Arrow, csv and tsv."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spiritlm_pl.corpora.plain_tables import read_table
from spiritlm_pl.corpora.text_files.files import TABLES, TextFile
from spiritlm_pl.corpora.text_files.lines import DAMAGE, is_damage, lines_between, opened
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.tables import table_rows

PLAIN_TABLES = (".csv", ".tsv")
LONGEST = 1 << 28  # bytes of a line; audio may stand in it, in base 64


def rows_of(file: TextFile, skipped: Skipped) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the values of each row; rows that cannot be read are counted.

    Args:
        file: file of conversations.
        skipped: where to count what is left out.

    Raises:
        ValueError: if the file is of plain text.
    """
    if file.path.suffix.lower() in PLAIN_TABLES:
        table = read_table(Path(str(file.path)), ())
        for broken in table.broken:
            skipped.add("row of a table that cannot be split into its columns", broken.reason)
        for row in table.rows:
            yield f"{file.path}:{row.line}", {name: cell for name, cell in row.cells.items() if cell}
        return
    if file.kind == "text":
        raise ValueError(
            f"source must be JSON lines, JSON, Parquet, Arrow, csv or tsv files, but {file.path} is of another kind"
        )
    try:
        for number, values in _rows(file, skipped):
            place = f"{file.path}:{number}"
            if isinstance(values, dict):
                yield place, _given(values)
            else:
                skipped.add("row that is no object", place)
    except DAMAGE as error:
        if not is_damage(error):
            raise
        skipped.add("file damaged from there on", f"{file.path} ({' '.join(str(error).split())[:200]})")


def _rows(file: TextFile, skipped: Skipped) -> Iterator[tuple[int, Any]]:
    if file.kind in TABLES:
        yield from enumerate(table_rows(file), 1)
        return
    with opened(file) as stream:
        is_list = _first_sign(stream.read(1 << 12)) == b"["
    with opened(file) as stream:
        if is_list:
            yield from enumerate(_list(stream.read(), file), 1)
            return
        for number, (_, line) in enumerate(lines_between(stream, 0, None, LONGEST), 1):
            place = f"{file.path}:{number}"
            if line is None:
                skipped.add(f"line longer than {LONGEST >> 20} MiB", place)
            elif line.strip():
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError):
                    skipped.add("line that is no JSON", place)


def _given(found: Any) -> Any:
    """Leave out fields without a value, which a table has where other rows have them, at any depth."""
    if isinstance(found, dict):
        return {name: _given(value) for name, value in found.items() if value is not None}
    return [_given(one) for one in found] if isinstance(found, list) else found


def _first_sign(content: bytes) -> bytes:
    return content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _list(content: bytes, file: TextFile) -> list[Any]:
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"source must be a list in JSON or JSON lines, but {file.path} is neither: {error}") from None
    assert isinstance(found, list)
    return found
