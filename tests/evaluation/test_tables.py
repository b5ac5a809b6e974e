"""Tables in a terminal: nothing lost, names broken between their parts alone, notes as wide as the terminal."""

import io
import re

import pytest
from rich.console import Console

from spiritlm_pl.evaluation.tables import PARTS, Figures

ROWS = [
    ["generation_quality_text", "50.2 (44.1 to 57.3)", "-", "perplexity (whole_mean), lower is better"],
    ["storycloze_speech_to_text", "100.0 (99.1 to 100.0)", "88.6", "accuracy, % (mean)"],
    ["toxicity", "[bold]", "", "a  b"],
]
TABLE = Figures(
    "Benchmarks", ["benchmark", "quickstart/model", "Spirit LM*", "figure"], ROWS, ["note /a/b_c.wav " * 9, "[i]"]
)


def shown(table: Figures, width: int) -> str:
    stream = io.StringIO()
    table.show(Console(file=stream, width=width))
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100])
def test_names_are_broken_between_their_parts(width: int) -> None:
    told = shown(TABLE, width)
    assert max(map(len, told.splitlines())) <= width
    whole = {part.strip() for row in [TABLE.columns, *ROWS] for cell in row for part in PARTS.findall(cell)}
    found = {part.strip() for word in re.split(r"[\s─]+", told) for part in PARTS.findall(word)}
    assert whole - {""} <= found


def test_a_table_that_fits_has_a_line_for_each_row() -> None:
    lines = [line.split("  ")[0].strip() for line in shown(TABLE, 200).splitlines()]
    assert [row[0] for row in ROWS] == [line for line in lines if line in {row[0] for row in ROWS}]
    assert "[bold]" in shown(TABLE, 200) and "[i]" in shown(TABLE, 200)


def test_a_table_without_rows_and_one_that_never_fits() -> None:
    assert "figure" in shown(Figures("Nothing", ["figure"], []), 80)
    told = shown(TABLE, 30)
    assert max(map(len, told.splitlines())) <= 30 and "genera" in told
    assert "…" not in told and "..." not in told
