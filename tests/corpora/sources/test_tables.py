import unicodedata
from pathlib import Path

import pytest
import torch

from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.ingest import Rules, ingest
from spiritlm_pl.corpora.sources.tables import read_table


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


@pytest.mark.parametrize(
    ("columns", "scale"),
    [
        ("start_sec,end_sec", 1),
        ("start_time,end_time", 1),
        ("Start Time,End Time", 1),
        ("starttime,endtime", 1),
        ("StartTime,EndTime", 1),
        ("begin,end", 1),
        ("begin_time,stop", 1),
        ("xmin,xmax", 1),
        ("onset,offset", 1),
        ("start (s),end (s)", 1),
        ("segment_start,segment_end", 1),
        ("start_ms,end_ms", 1000),
        ("start [ms],end [ms]", 1000),
        ("Start Time (in ms),End Time (in ms)", 1000),
    ],
)
def test_segments_by_whatever_name_their_columns_have(columns: str, scale: int, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"path,{columns},text\nlong.wav,0,{1.5 * scale},one\nlong.wav,{1.5 * scale},{2 * scale},two\n")
    utterances, skipped = read_table(table)
    assert [(u.start, u.duration) for u in utterances] == [(0.0, 1.5), (1.5, 0.5)] and not skipped


def test_rows_of_one_whole_file_are_told_why(tmp_path: Path) -> None:
    _, (reason,) = read(tmp_path, "path,text\nlong.wav,one\nlong.wav,two\n")
    assert reason.endswith("same audio as that in line 2, the whole file: no column tells where utterances start")


def test_an_offset_is_a_start_beside_a_duration(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("path,onset,duration,offset,text\nlong.wav,1,0.5,1.5,one\nlong.wav,2,0.5,2,two\n")
    ((only,), (other,)) = read_table(table)
    assert (only.start, only.duration) == (1.0, 0.5)
    assert "the end after the start" in other.reason
    table.write_text("path,offset_ms,duration_ms,text\nlong.wav,1000,500,one\n")
    ((only,), _) = read_table(table)
    assert (only.start, only.duration) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("start_frame,end_frame", "column 'start_frame' of .* looks like the start of segments, but its unit is not"),
        ("startsample,endsample", "column 'startsample' of .* looks like the start"),
        ("start,gender", "must tell where segments end, but has a column 'start' and no end or duration"),
        ("start,end_frame", "must tell where segments end, but has a column 'start'"),
        ("gender,end", "must tell where segments start, but has a column 'end' alone"),
        ("start,offset", "must tell where segments end, but 'offset' beside 'start' may be anything"),
        ("start,start_ms", "one column of each time, but 'start' and 'start_ms' are both of start"),
    ],
)
def test_times_that_cannot_be_read_are_refused(columns: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, f"path,{columns},text\nlong.wav,0,1,one\n")


def test_rows_that_do_not_tell_their_segment_are_skipped(tmp_path: Path) -> None:
    texts, reasons = read(
        tmp_path,
        "path,start,end,duration,text\na.wav,1,,,one\nb.wav,,2,,two\nc.wav,1,2,1.0,three\nd.wav,1,2,4.25,four\n",
    )
    assert [*texts.values()] == ["three"]
    assert "must tell where the utterance starts and ends, but has {'start': '1'} alone" in reasons[0]
    assert "but has {'end': '2'} alone" in reasons[1]
    assert "duration must be the time from start to end" in reasons[2]


def test_columns_that_are_not_read_are_told_if_they_seem_to_matter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read(tmp_path, "path,text,gender,segment,num_frames\na.wav,one,f,,9\n")
    assert f"columns of {tmp_path / 't.csv'} that are not read: 'segment', 'num_frames'" in caplog.text
    caplog.clear()
    read(tmp_path, "path,text,gender,friend,sentence_id\na.wav,one,f,,9\n")
    assert not caplog.records


def test_a_file_must_last_as_long_as_the_table_says(tmp_path: Path) -> None:
    for name in "abcdef":
        save_wav(tmp_path / f"{name}.wav", torch.sin(torch.arange(20_000.0)))  # 1.25 s
    table = tmp_path / "t.csv"
    durations = {"a": "1.25", "b": "1", "c": "1.00", "d": "12.93", "e": "", "f": "nan"}
    rows = "".join(f"{name}.wav,{duration},word {name}\n" for name, duration in durations.items())
    table.write_text("path,duration,text\n" + rows)
    utterances, _ = read_table(table)
    cuts, skipped = ingest(utterances, tmp_path / "out", Rules(), num_jobs=1)
    assert [cut.id for cut in cuts] == ["a", "b", "e", "f"]  # 1 is what 1.25 is rounded to
    assert skipped[1].reason == "file must last 12.93 s by its manifest, but lasts 1.25 instead"
    table.write_text("path,duration_ms,text\na.wav,1250,one\nb.wav,1.25,two\nc.wav,x,three\n")
    utterances, (row,) = read_table(table)
    assert [u.file_duration for u in utterances] == [1.25, 0.00125]
    assert row.reason.endswith("duration must be seconds, but is 'x' instead")


def test_languages_of_the_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = tmp_path / "t.csv"
    table.write_text("path,text,locale\na.wav,eins,de\nb.wav,one,en-GB\nc.wav,two,\nd.wav,three,nan\n")
    utterances, _ = read_table(table)
    assert [u.language for u in utterances] == ["de", "en-GB", "en", "en"]
    assert f"utterances are in the languages that {table} names: de, en, en-GB" in caplog.text


@pytest.mark.parametrize(
    ("cells", "found"),
    [("0,1", [0, 1]), ("1.0,0.0", [1, 0]), ("left,right", [0, 1]), ("R,R", [1, 1]), (",0", [None, 0])],
)
def test_channels_of_the_table(cells: str, found: list[int | None], tmp_path: Path) -> None:
    first, second = cells.split(",")
    table = tmp_path / "t.csv"
    table.write_text(f"path,text,channel\na.wav,one,{first}\na.wav,two,{second}\n")
    utterances, skipped = read_table(table)
    assert [u.channel for u in utterances] == list(dict.fromkeys(found))
    assert len({u.id for u in utterances}) + len(skipped) == 2


@pytest.mark.parametrize("cells", [("1", "2"), ("1", "1"), ("A", "B")])
def test_channels_that_may_count_from_one_are_refused(cells: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must count channels from 0, or call them left and right"):
        read(tmp_path, f"path,text,channel\na.wav,one,{cells[0]}\na.wav,two,{cells[1]}\n")


def test_splits_of_the_table(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("path,text,split\na.wav,one,train\nb.wav,two,dev\nc.wav,three,test\nd.wav,four,nan\n")
    found, _ = read_table(table)
    assert isinstance(found, dict)
    assert {split: [u.text for u in members] for split, members in found.items()} == {
        "train": ["one", "four"],
        "validation": ["two"],
        "test": ["three"],
    }
    table.write_text("path,text,split\na.wav,one,other\nb.wav,two,invalidated\n")
    found, _ = read_table(table)
    assert isinstance(found, list) and len(found) == 2


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "None", "NULL", "N/A", "<NA>", "NA"])
def test_names_of_nobody(missing: str, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"path,text,speaker,style\na.wav,one,{missing},{missing}\nb.wav,two,Nan Na,nonesuch\n")
    first, second = read_table(table)[0]
    assert (first.speaker, first.custom) == ("", None)
    assert (second.speaker, second.custom) == ("Nan Na", {"style": "nonesuch"})
