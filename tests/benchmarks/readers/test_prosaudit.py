"""ProsAudit's table, with ids of pairs and with ids of single rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spiritlm_pl.benchmarks.readers import prosaudit

Write = Callable[..., Path]
Noise = Callable[[Path], Path]


def make(folder: Path, rows: list[dict[str, Any]], write_table: Write, noise: Noise) -> Path:
    write_table(folder / "gold.csv", rows, list(rows[0]))
    for row in rows:
        noise(folder / f"{row['filename']}.wav")
    return folder


def test_pairs_share_type_and_id(tmp_path: Path, write_table: Write, noise: Noise) -> None:
    rows = [
        {"filename": f"{kind}{number}{correct}", "id": number, "type": kind, "correct": correct}
        for correct in (0, 1)
        for kind in ("lexical", "protosyntax")
        for number in range(3)
    ]
    make(tmp_path / "english" / "dev", rows, write_table, noise)
    reading = prosaudit.read(tmp_path)
    assert [item.names for item in reading.items][:2] == [("lexical01", "lexical00"), ("lexical11", "lexical10")]
    assert reading.items[3].labels == {"type": "protosyntax", "id": "0", "voice": None}
    make(tmp_path / "english" / "test", rows, write_table, noise)
    with pytest.raises(ValueError, match="must hold one gold.csv, but holds .*: give a split"):
        prosaudit.read(tmp_path)
    assert len(prosaudit.read(tmp_path, split="test").items) == 6
    with pytest.raises(ValueError, match="must hold a gold.csv of train with columns"):
        prosaudit.read(tmp_path, split="train")


def test_rows_with_ids_of_their_own_are_paired_in_order(tmp_path: Path, write_table: Write, noise: Noise) -> None:
    rows = [
        {"filename": f"f{number}", "id": number, "type": "lexical" if number < 4 else "protosyntax", "correct": correct}
        for number, correct in enumerate([1, 0, 1, 0, 1, 0])
    ]
    make(tmp_path, rows, write_table, noise)
    assert [item.names for item in prosaudit.read(tmp_path).items] == [("f0", "f1"), ("f2", "f3"), ("f4", "f5")]
    rows[5]["type"] = "lexical"
    make(tmp_path, rows, write_table, noise)
    reading = prosaudit.read(tmp_path)
    assert len(reading.items) == 2
    assert "different types, protosyntax and lexical" in reading.skipped[0].reason


def test_other_tables_are_refused(tmp_path: Path, write_table: Write) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match="with columns filename, id, type, correct, but has none"):
        prosaudit.read(tmp_path)
    write_table(tmp_path / "gold.csv", [{"filename": "a", "correct": 1}], ["filename", "correct"])
    with pytest.raises(ValueError, match="lacks type, id"):
        prosaudit.read(tmp_path)
