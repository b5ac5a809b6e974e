"""Tables of figures with their intervals, for a terminal and as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from spiritlm_pl.evaluation.interval import Estimate

NOTHING = "-"


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

    def rich(self) -> Table:
        """Return the table for a terminal."""
        title, caption = Text(self.title), Text("\n".join(self.notes))
        table = Table(title=title, caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
        table.caption_justify = "left"
        for name in self.columns:
            table.add_column(Text(name), overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))  # plain text instead of markup, since names may hold brackets
        return table

    def markdown(self) -> str:
        """Return the table as Markdown."""
        rows = [self.columns, ["---"] * len(self.columns), *self.rows]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([self.title, "", *lines, *([""] if notes else []), *notes]) + "\n"


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
