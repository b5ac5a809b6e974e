import unicodedata
from pathlib import Path

import pytest

from spiritlm_pl.corpora.tables import read_table


def read(folder: Path, content: str | bytes, name: str = "t.csv") -> tuple[dict[str, str], list[str]]:
    """Texts by id, and reasons of rows that were skipped."""
    table = folder / name
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    utterances, skipped = read_table(table)
    return {u.id: u.text or "" for u in utterances}, [row.reason for row in skipped]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ('b.wav,"two', "a quote in it is not closed"),
        ('b.wav,"two" or more', "a quote in it is not closed, or does not begin and end its field"),
        ("b.wav,two, three, four", "it has 4 fields, but the header has 2: quote texts with commas"),
        ("b.wav,the \0cat", "it holds a NUL character"),
        ("b.wav", "it ends before the text"),
        (",two", "it names no file"),
    ],
)
def test_a_bad_row_costs_itself_alone(fault: str, reason: str, tmp_path: Path) -> None:
    texts, reasons = read(tmp_path, f"path,text\na.wav,one\n{fault}\nc.wav,three\nd.wav,four\n")
    assert texts == {"a": "one", "c": "three", "d": "four"}
    (found,) = reasons
    assert found.startswith(f"row in line 3 of {tmp_path / 't.csv'} cannot be used: {reason}")


def test_two_unbalanced_quotes_do_not_swallow_the_rows_between(tmp_path: Path) -> None:
    texts, reasons = read(tmp_path, 'path,text\na.wav,"one\nb.wav,two\nc.wav,three "\nd.wav,four\n')
    assert texts == {"b": "two", "c": 'three "', "d": "four"} and len(reasons) == 1


def test_quoted_fields_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    texts, reasons = read(tmp_path, 'path,text\r\na.wav,"one, ""two""\r\nthree"\r\n\r\nb.wav,a "b" c\r\n')
    assert texts == {"a": 'one, "two"\nthree', "b": 'a "b" c'} and not reasons
    assert read(tmp_path, 'path\ttext\na.wav\t"one\n', "t.tsv") == ({"a": '"one'}, [])
    assert read(tmp_path, "path;text\na.wav;one, two\n") == ({"a": "one, two"}, [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    assert read(tmp_path, "path,text\na.wav,déjà\n".encode(encoding)) == ({"a": "déjà"}, [])


def test_other_encodings_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"table must be .*t.csv is not UTF-8 or UTF-16 \(byte 0xe0 in line 3\)"):
        read(tmp_path, "path,text\na.wav,one\nb.wav,là\n".encode("latin-1"))


def test_segments(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(
        "path,start,end,text\nlong.wav,0,1.5,one\nlong.wav,1.5,2,two\nlong.wav,,,all\nlong.wav,2,1,three\n"
        "long.wav,2,x,four\nlong.wav,1.5,2,again\nlong.wav,0,1e308,five\n"
    )
    utterances, skipped = read_table(table)
    assert [(u.id, u.start, u.duration, u.text) for u in utterances] == [
        ("long-0000000-0001500", 0.0, 1.5, "one"),
        ("long-0001500-0002000", 1.5, 0.5, "two"),
        ("long", 0.0, None, "all"),
    ]
    reasons = [row.reason for row in skipped]
    assert reasons[0].endswith("the end after the start, but are {'start': '2', 'end': '1'} instead")
    assert "start and end must be seconds" in reasons[1]
    assert reasons[2].endswith("is of the same audio as that in line 3")
    assert "start and end must be seconds" in reasons[3]
    table.write_text("path,offset,duration,text\nlong.wav,1,0.25,one\nshort.wav,,3.2,whole\n")
    assert [(u.start, u.duration) for u in read_table(table)[0]] == [(1.0, 0.25), (0.0, None)]


def test_a_name_is_found_in_either_unicode_form(tmp_path: Path) -> None:
    on_disk = unicodedata.normalize("NFD", "café.wav")
    (tmp_path / on_disk).touch()
    (tmp_path / "t.csv").write_text("path,text\ncafé.wav,one\n")
    ((only,), _) = read_table(tmp_path / "t.csv")
    assert only.path == tmp_path / on_disk and only.id == "café"
