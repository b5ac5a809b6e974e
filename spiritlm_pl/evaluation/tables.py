"""Tables of figures with their intervals, for a terminal and as Markdown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spiritlm_pl.evaluation.interval import Estimate

NOTHING = "-"
PARTS = re.compile(r"[^\s_/]*[_/]+|[^\s_/]+|\s+")  # of a cell, which may be broken after any of them


@dataclass(frozen=True)
class Figures:
    """Table of figures.

    Attributes:
        title: title that names the measure and its data.
        columns: names of the columns; the first column holds the names of the rows.
        rows: cells of each row, in the order of the columns.
        notes: notes below the table that explain the figures.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def show(self, console: Console | None = None) -> None:
        """Print the table and its notes.

        Args:
            console: where to print; None for standard output.
        """
        console = console or Console()
        console.print(self.rich(console.width))
        for note in self.notes:
            console.print(Text(note, style="dim"))
        if self.notes:
            console.print()

    def rich(self, width: int | None = None) -> Table:
        """Return the table for a terminal, without its notes; cells are broken between words and parts of names.

        Args:
            width: number of characters of a line; None for that of standard output.
        """
        table = Table(title=Text(self.title), box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
        columns = list(zip(self.columns, *self.rows, strict=True))
        room = (Console().width if width is None else width) - 2 * len(columns) - 1  # between columns and around them
        widths = _widths(columns, room)
        for name, size in zip(self.columns, widths, strict=True):
            table.add_column(Text(_broken(name, size)), width=size, overflow="fold")
        for row in self.rows:  # as plain text instead of markup, since names may hold brackets
            table.add_row(*(Text(_broken(cell, size)) for cell, size in zip(row, widths, strict=True)))
        return table

    def markdown(self) -> str:
        """Return the table as Markdown."""
        rows = [self.columns, ["---"] * len(self.columns), *self.rows]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([self.title, "", *lines, *([""] if notes else []), *notes]) + "\n"


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return the width of each column: the widest are made narrower as long as no part of a cell must be broken."""
    widths = [max(map(len, cells)) for cells in columns]
    least = [max(len(part.strip()) for cell in cells for part in PARTS.findall(cell) or [""]) for cells in columns]
    for lowest in (least, [1] * len(columns)):  # parts are broken where all else is too wide
        while sum(widths) > room:
            wide = [(size, place) for place, size in enumerate(widths) if size > lowest[place]]
            if not wide:
                break
            widths[max(wide)[1]] -= 1
    return [max(1, size) for size in widths]


def _broken(cell: str, width: int) -> str:
    """Break a cell into lines of at most a width, where that is possible between its parts."""
    lines = [""]
    for part in PARTS.findall(cell):
        if len(lines[-1]) + len(part.rstrip()) <= width:
            lines[-1] += part
        elif part.strip():
            lines.append(part)
    return "\n".join(line.strip() for line in lines)


def cell(estimate: Estimate | float | None, form: str = ".3g") -> str:
    """Format a figure with its interval, such as `23.4 (20.1 to 26.9)`, or a dash for None."""
    if estimate is None:
        return NOTHING
    if not isinstance(estimate, Estimate):
        return format(estimate, form)
    text = format(estimate.value, form)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({format(estimate.low, form)} to {format(estimate.high, form)})"


def span(counts: Sequence[int]) -> str:
    """Format counts as their range, such as `12` or `10 to 12`."""
    if not counts:
        return NOTHING
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
