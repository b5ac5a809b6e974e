"""Tables of any columns, found by name (`gold.csv`, intents), whose broken rows are told one by one.

Rows are parsed separately: none of these tables has line breaks within a field, and a quote that is not closed would
otherwise take in all the rows after it.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.files import read_text

_DELIMITERS = ",\t;"


@dataclass(frozen=True)
class Row:
    """Row of a table.

    Attributes:
        line: number of its line in the file, 1 for the header.
        cells: its fields by the name of the column in lower case, without spaces around them.
    """

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """Table with the rows that can be read.

    Attributes:
        path: path of the file.
        rows: rows in the order of the file.
        broken: rows that cannot be read, each with its line and the reason.
    """

    path: Path
    rows: Sequence[Row]
    broken: Sequence[Skipped]


def _fields(line: str, delimiter: str) -> list[str] | None:
    """Split a line into fields; None if a quote in it is not closed."""
    try:
        (fields,) = csv.reader([line], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        return None
    return [field.strip() for field in fields]


def broken_row(path: Path, line: int, reason: str) -> Skipped:
    """Return the entry for a row that cannot be used."""
    return Skipped(f"{path.name}:{line}", str(path), f"row in line {line} of {path} cannot be used: {reason}")


def read_table(path: Path, required: Sequence[str]) -> Table:
    """Read a table with a header; blank lines and a byte order mark are passed over.

    Args:
        path: file with fields separated by commas, tabs or semicolons.
        required: names of columns that it must have, in any order.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it lacks a column, or is in no known encoding.
    """
    lines = [(number, line) for number, line in enumerate(read_text(path).split("\n"), start=1) if line.strip()]
    header = lines[0][1] if lines else ""
    names, delimiter = _header(header, required)
    missing = [name for name in required if name not in names]
    if missing:
        has = f"it has {', '.join(names)}" if lines else "it is empty"
        raise ValueError(f"{path} must have columns {', '.join(required)}, but lacks {', '.join(missing)}: {has}")
    rows: list[Row] = []
    broken: list[Skipped] = []
    for number, line in lines[1:]:
        fields = _fields(line, delimiter)
        if fields is None:
            broken.append(broken_row(path, number, "a quote in it is not closed"))
        elif len(fields) != len(names):
            broken.append(broken_row(path, number, f"it has {len(fields)} fields, but the header has {len(names)}"))
        else:
            rows.append(Row(number, dict(zip(names, fields, strict=True))))
    return Table(path, rows, broken)


def column_names(path: Path) -> list[str]:
    """Return the names of the columns of a table, in lower case; empty if it cannot be read as text."""
    try:
        first = next((line for line in read_text(path).split("\n") if line.strip()), "")
    except ValueError:
        return []
    return _header(first, ())[0]


def _header(line: str, required: Sequence[str]) -> tuple[list[str], str]:
    """Return the names of the columns and the delimiter, that which yields most of the required names, or most."""
    tried = [([name.lower() for name in _fields(line, sign) or []], sign) for sign in _DELIMITERS]
    return max(tried, key=lambda one: (sum(name in one[0] for name in required), len(one[0])))
