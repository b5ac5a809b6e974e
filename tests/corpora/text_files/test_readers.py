"""Documents of files of texts: what they are, what is left out, and that pieces of a file have each of them once."""

import bz2
import gzip
import json
import lzma
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritlm_pl.corpora.text_files import lines, places, readers
from spiritlm_pl.corpora.text_files.options import TextOptions
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.source import open_source

DOCUMENT = "def f(x):\n    return x\n\n\n\tdone\n"


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def in_pieces(path: Path, piece_bytes: int = 1 << 26, **options: str) -> tuple[list[tuple[str, str]], Skipped]:
    source, skipped = open_source([str(path)], TextOptions(**options)), Skipped()
    return [text for piece in source.pieces(piece_bytes) for text in source.texts(piece, skipped)], skipped


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lambda content: lzma.compress(content, preset=0), "zst": zstd}


@pytest.mark.parametrize("ending", ["", *PACKED])
def test_documents_of_json_lines_are_kept_as_they_are(tmp_path: Path, ending: str) -> None:
    documents = [DOCUMENT, "  é  ", "x" * 70_000, "last"]
    lines = [json.dumps({"text": text, "id": 1}).encode() + b"\n" for text in documents]
    pack = PACKED.get(ending, bytes)
    name = f"a.jsonl.{ending}".rstrip(".")
    found, skipped = in_pieces(written(tmp_path / name, pack(b"".join(lines[:2])) + pack(b"".join(lines[2:]))))
    assert [text for _, text in found] == documents and not skipped.total
    places = [0, *(sum(map(len, lines[: number + 1])) for number in range(3))]
    assert [key for key, _ in found] == [f"{name}:{place}" for place in places]


def test_what_a_document_of_plain_text_is(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", b"\xef\xbb\xbf one\r\n  two \n\n \t\n\n    three\nfour\rfive\n\n")
    assert [text for _, text in in_pieces(path)[0]] == ["one", "two", "three", "four", "five"]
    assert in_pieces(path, documents="blank_line")[0] == [
        ("a.txt:0", " one\n  two"),
        ("a.txt:21", "    three\nfour\rfive"),
    ]
    assert in_pieces(path, documents="file")[0] == [("a.txt:0", " one\n  two \n\n \t\n\n    three\nfour\rfive")]


def test_what_cannot_be_read_is_counted_by_reason(tmp_path: Path) -> None:
    bad = [b"no json", b"[1]", b'{"id": 1}', b'{"text": null}', b'{"text": " "}', b'{"text": "\\ud800"}']
    bad += [b'{"text": "\xff"}', b"[" * 5_000]
    found, skipped = in_pieces(written(tmp_path / "a.jsonl", b'{"text": "good"}\n\n' + b"\n".join(bad)))
    assert found == [("a.jsonl:0", "good")]
    assert skipped.counts == {
        "line that is no JSON": 3,
        "line that is no JSON object": 1,
        "object without field 'text'": 1,
        "field 'text' without a text in it": 1,
        "empty document": 1,
        "text with half a surrogate pair": 1,
    }
    assert f"3 x line that is no JSON, such as {tmp_path}/a.jsonl:10" in skipped.lines()[0]
    found, skipped = in_pieces(written(tmp_path / "a.txt", b"one\n\xff\xfe\xff two\nthree\n"))
    assert [text for _, text in found] == ["one", "three"] and skipped.lines() == [
        f"1 x text that is not UTF-8, such as {tmp_path}/a.txt:2"
    ]


@pytest.mark.parametrize("ending", PACKED)
def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path, ending: str) -> None:
    content = b"".join(b'{"text": "%d %s"}\n' % (number, b"abcdef"[: number % 7] * 9) for number in range(60_000))
    whole = PACKED[ending](content)
    found, skipped = in_pieces(written(tmp_path / f"a.jsonl.{ending}", whole[: len(whole) * 9 // 10]))
    assert 10_000 < len(found) < 60_000
    assert skipped.counts == {readers.DAMAGED: 1} and f"a.jsonl.{ending} after " in skipped.lines()[0]


def test_documents_that_are_too_long_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LONGEST_DOCUMENT", 50)
    monkeypatch.setattr(readers, "LONGEST_OBJECT", 100)
    path = written(tmp_path / "a.txt", b"a" * 60 + b"\nshort\n\n" + b"b\n" * 40 + b"\nend\n")
    for documents, kept, left_out in (("line", ["short", *["b"] * 40, "end"], 1), ("blank_line", ["end"], 2)):
        found, skipped = in_pieces(path, documents=documents)
        assert [text for _, text in found] == kept and skipped.counts == {readers.TOO_LONG: left_out}
    found, skipped = in_pieces(path, documents="file")
    assert not found and skipped.counts == {readers.TOO_LONG: 1}
    path = written(tmp_path / "a.jsonl", b'{"text": "ok"}\n{"text": "%s"}\n{"x": "%s"}\n' % (b"a" * 55, b"b" * 200))
    found, skipped = in_pieces(path)
    assert [text for _, text in found] == ["ok"] and skipped.counts == {readers.TOO_LONG: 2}


CONTENT = st.lists(
    st.sampled_from([b"a", b"bc d", b"\n", b"\n\n", b"\r\n", b" \n", b"\t", b"\xc3\xa9", b"\xff"]), max_size=40
)


@settings(max_examples=150, deadline=None)
@given(CONTENT.map(b"".join), st.sampled_from(["line", "blank_line"]), st.integers(1, 12), st.booleans())
def test_pieces_have_every_document_once(tmp_path_factory, content, documents, piece_bytes, mark) -> None:
    path = written(tmp_path_factory.mktemp("pieces") / "a.txt", b"\xef\xbb\xbf" * mark + content)
    whole, whole_skipped = in_pieces(path, documents=documents)
    found, skipped = in_pieces(path, piece_bytes, documents=documents)
    assert found == whole and skipped.counts == whole_skipped.counts
    assert len({key for key, _ in found}) == len(found)


LINES = ["a", "bc d", "\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2028", "\x1f", "\ufeff", "é", "😀"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=30).map("".join), st.booleans(), st.booleans(), st.integers(1, 9))
def test_lines_that_are_read_together_are_those_of_each(tmp_path_factory, content, mark, broken, buffer) -> None:
    """Whatever a buffer holds, and whether or not its lines must be looked at one by one."""
    stored = b"\xef\xbb\xbf" * mark + content.encode() + b"\n\xff" * broken
    path = written(tmp_path_factory.mktemp("lines") / "a.txt", stored)
    expected, place = [], 0
    for line in stored.split(b"\n"):
        start = place
        for part in (line if place else line.removeprefix(b"\xef\xbb\xbf")).split(b"\r"):
            if part != b"\xff" and (text := part.decode().strip()):
                expected.append((f"a.txt:{start}", text))
            start += len(part) + 1
        place += len(line) + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BUFFER", buffer)
        patch.setattr(lines, "SMALL_BUFFER", 1 + buffer // 2)
        found, skipped = in_pieces(path)
    assert found == expected and skipped.total == broken


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200))
def test_pieces_of_json_lines_have_every_document_once(tmp_path_factory, piece_bytes) -> None:
    lines = [json.dumps({"text": f"{number} " * (number % 9 + 1)}) for number in range(40)]
    path = written(tmp_path_factory.mktemp("pieces") / "a.jsonl", "\n".join(lines).encode())
    assert in_pieces(path, piece_bytes)[0] == in_pieces(path)[0]


@pytest.mark.parametrize("ending", ["parquet", "arrow", "feather"])
@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_rows_of_tables_are_kept_as_they_are(tmp_path: Path, ending: str, kind: pa.DataType) -> None:
    documents = [DOCUMENT, None, "  é ", "", *(f"row {number}" for number in range(600))]
    values = [text.encode() if text is not None and kind == pa.binary() else text for text in documents]
    table = pa.table({"other": pa.array(range(len(values))), "content": pa.array(values).cast(kind)})
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        pq.write_table(table, path, row_group_size=100)
    else:
        opener = pa.ipc.new_stream if ending == "arrow" else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as sink, opener(sink, table.schema) as stream:
            stream.write_table(table, max_chunksize=100)
    found, skipped = in_pieces(path, field="content")
    kept = [(f"a.{ending}:{row}", text) for row, text in enumerate(documents) if text]
    assert found == kept
    assert skipped.counts == {"field 'content' without a text in it": 1, "empty document": 1}
    source = open_source([str(path)], TextOptions(field="content"))
    assert in_pieces(path, 200, field="content")[0] == kept and len(source.pieces(200)) == 7
    with pytest.raises(
        ValueError, match=rf"must be a column of the data, but .*a.{ending} has other, content, not 'text'"
    ):
        in_pieces(path)
    with pytest.raises(ValueError, match=rf"must be a column of texts, but 'other' of .*a.{ending} holds int64"):
        in_pieces(path, field="other")


def test_a_damaged_table_and_a_string_that_is_not_utf8_are_counted(tmp_path: Path) -> None:
    column = pa.array([b"one", b"\xff\xfe", b"three"] * 500).view(pa.string())
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": column}), path, row_group_size=300, compression="zstd", use_dictionary=False)
    found, skipped = in_pieces(path)
    assert len(found) == 1_000 and skipped.counts == {"text that is not UTF-8": 500}
    content = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    content[start : start + 40] = bytes(40)
    found, skipped = in_pieces(written(path, bytes(content)))
    assert 0 < len(found) < 600 and skipped.counts[readers.DAMAGED] == 1


def test_counts_of_several_readers_are_joined() -> None:
    one, other = Skipped(), Skipped()
    one.add("empty", "b", 2), other.add("empty", "a"), other.add("odd", "c")
    one.merge(other)
    assert one.total == 4 and one.lines() == ["3 x empty, such as a", "1 x odd, such as c"]


def test_a_disk_that_fails_is_no_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n", encoding="utf-8")

    def fails(*given: object) -> object:
        raise OSError(116, "Stale file handle")

    source, skipped = open_source([str(tmp_path / "a.txt")], TextOptions()), Skipped()
    monkeypatch.setattr(readers, "blocks_between", fails)
    with pytest.raises(OSError, match="Stale file handle"):
        list(source.all_texts(skipped))
    assert not skipped.total


@pytest.mark.parametrize("ending", [None, *PACKED])
def test_places_are_told_by_line_whichever_piece_they_are_in(tmp_path: Path, ending: str | None) -> None:
    content = b'{"text": "a"}\n' * 400 + b"broken\n" + b'{"text": "b"}\n' * 9
    path = tmp_path / ("a.jsonl" if ending is None else f"a.jsonl.{ending}")
    source = open_source([str(written(path, content if ending is None else PACKED[ending](content)))], TextOptions())
    skipped = Skipped()
    for piece in source.pieces(1_000):
        list(source.texts(piece, skipped))
    assert skipped.examples == {"line that is no JSON": f"{path}, byte {14 * 400}"}
    assert skipped.lines() == [f"1 x line that is no JSON, such as {path}:401"]


def test_a_place_that_is_far_away_or_gone_is_told_by_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.txt", b"one\ntwo\nthree\n")
    assert places.with_line(f"{path}, byte 8") == f"{path}:3"
    for place in (f"{tmp_path}/gone.txt, byte 3", f"{path}, byte 99", f"{path}, row 4", "a"):
        assert places.with_line(place) == place
    monkeypatch.setattr(places, "MOST_BYTES", 7)
    assert places.with_line(f"{path}, byte 8") == f"{path}, byte 8"


def test_places_in_words_name_the_file_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is that of the source, also where another one of its name lies in the working directory."""
    (tmp_path / "data").mkdir()
    path = written(tmp_path / "data" / "a.txt", b"x\n" * 5)
    written(tmp_path / "a.txt", b"another file\n")
    monkeypatch.chdir(tmp_path)
    (file,) = open_source([str(path)], TextOptions()).files
    assert places.at_place(file, 8) == f"{path}, byte 8"
    assert places.with_line(places.at_place(file, 8)) == f"{path}:5"
    assert places.at_place(replace(file, kind="parquet"), 3) == f"{path}, row 3"
