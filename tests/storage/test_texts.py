"""Files of text in object storage give what those on a disk give, and errors in one line that names the object."""

import bz2
import gzip
import json
import lzma
import pickle
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spiritlm_pl.cli.main import run
from spiritlm_pl.corpora.text_files import pieces as pieces_module
from spiritlm_pl.corpora.text_files.finding import find_files
from spiritlm_pl.corpora.text_files.lines import raw
from spiritlm_pl.corpora.text_files.options import TextOptions
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.source import open_source
from spiritlm_pl.storage import reader as reader_module
from spiritlm_pl.storage.connection import Connection
from spiritlm_pl.storage.reader import ObjectReader

TEXTS = [f"the {word} sat on mat {number}" for number in range(40) for word in ("cat", "dog", "fox")]
ROWS = "".join(json.dumps({"id": number, "content": text}) + "\n" for number, text in enumerate(TEXTS)).encode()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A file of every kind, in folders."""
    folder = tmp_path / "texts"
    files = {
        "web/a/part-0.jsonl": ROWS,
        "web/b/part-0.jsonl": ROWS[: ROWS.index(b"\n", len(ROWS) // 2) + 1],
        "web/a/part-1.jsonl.gz": gzip.compress(ROWS),
        "web/a/part-2.jsonl.bz2": bz2.compress(ROWS),
        "web/a/part-3.jsonl.xz": lzma.compress(ROWS),
        "web/a/part-4.jsonl.zst": zstd(ROWS),
        "web/.hidden/part-9.jsonl": ROWS,
        "web/README.md": b"none of the data",
        "books/one.txt": "\n\n".join(TEXTS).encode(),
        "books/deep/two.txt": "é\nü\n".encode(),
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    table = pa.table({"id": list(range(len(TEXTS))), "content": TEXTS})
    (folder / "tables").mkdir()
    pq.write_table(table, folder / "tables" / "t.parquet", row_group_size=32)
    (folder / "saved").mkdir()
    with pa.OSFile(str(folder / "saved" / "data-0.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table, max_chunksize=16)
    (folder / "saved" / "state.json").write_text('{"_data_files": [{"filename": "data-0.arrow"}]}')
    return folder


def read(*patterns: object, piece_bytes: int = 1 << 20, **options: str) -> tuple[list[tuple[str, str]], list[str]]:
    source, skipped = open_source([str(one) for one in patterns], TextOptions(**options)), Skipped()
    pieces = pickle.loads(pickle.dumps(source.pieces(piece_bytes)))  # as they come to other processes
    found = [text for piece in pieces for text in source.texts(piece, skipped)]
    source.check_unchanged()
    return found, skipped.lines()


@pytest.mark.parametrize(
    ("pattern", "options"),
    [
        ("web", {"field": "content"}),
        ("web/**/*.jsonl", {"field": "content"}),
        ("web/*/part-[0-2]*", {"field": "content"}),
        ("web/b*", {"field": "content"}),  # of folders
        ("web/a/part-4.jsonl.zst", {"field": "content"}),
        ("tables", {"field": "content"}),
        ("saved", {"field": "content"}),
        ("books", {"documents": "blank_line"}),
        ("books/**", {"documents": "file"}),
        ("books/one.txt", {}),
    ],
)
def test_texts_are_those_of_the_disk(s3, texts: Path, pattern: str, options: dict[str, str]) -> None:
    url = s3.upload(texts, "texts")
    for piece_bytes in (1 << 20, 1000):
        here, there = (read(f"{root}/{pattern}", piece_bytes=piece_bytes, **options) for root in (texts, url))
        assert here == there and here[0] and not here[1]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("odd/a[1].txt", ["a[1]"]),
        ("odd/what?.txt", ["what?"]),
        ("odd/star*.txt", ["star*"]),
        ("odd/b[1]", ["b[1]/in"]),  # a folder
        ("odd/a[12].txt", ["a1", "a2"]),  # a pattern, since nothing has this name
        ("odd/[a]1.txt", ["a1"]),
        ("odd/b?", ["b1/in"]),  # of folders
        ("odd/**/in.txt", ["b1/in", "b[1]/in"]),
    ],
)
def test_a_name_with_signs_of_patterns_is_that_of_an_object_first(
    s3, tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    names = ("a[1]", "a1", "a2", "what?", "whats", "star*", "starry", "b[1]/in", "b1/in")
    for name in names:
        path = tmp_path / "odd" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    url = s3.upload(tmp_path / "odd", "odd").removesuffix("/odd")
    for root in (tmp_path, url):
        assert [text for _, text in read(f"{root}/{pattern}")[0]] == expected


def test_a_long_object_is_read_in_ranges(s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "FIRST", 16)
    monkeypatch.setattr(reader_module, "LONGEST", 4096)
    monkeypatch.setattr(pieces_module, "PIECE_BYTES", 4096)
    (tmp_path / "long").mkdir()
    (tmp_path / "long" / "a.jsonl").write_bytes(ROWS)
    url = s3.upload(tmp_path / "long", "long")
    assert read(f"{url}/a.jsonl", field="content") == read(tmp_path / "long", field="content")
    assert 3 < s3.gets("a.jsonl") < 40


class Bytes:
    """Connection to one object; it counts what is asked for."""

    def __init__(self, data: bytes) -> None:
        self.data, self.ranges = data, list[tuple[int, int]]()

    def read(self, url: str, begin: int, end: int) -> bytes:
        self.ranges.append((begin, end))
        return self.data[begin:end]


def test_ranges_grow_while_they_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "FIRST", 4)
    monkeypatch.setattr(reader_module, "LONGEST", 32)
    connection = Bytes(bytes(range(100)))
    with ObjectReader(connection, "s3://b/a", 100) as file:  # type: ignore[arg-type]
        assert b"".join(iter(lambda: file.read(3), b"")) == connection.data
        assert connection.ranges == [(0, 4), (4, 20), (20, 52), (52, 84), (84, 100)]
        assert file.seek(-10, 2) == 90 and file.read(2) == bytes([90, 91]) and connection.ranges[-1] == (84, 100)
        file.seek(7)
        assert file.read(2) == bytes([7, 8]) and connection.ranges[-1] == (7, 11)
        assert file.seek(200) == 200 and file.read(1) == b"" and file.tell() == 200


def test_a_look_at_an_object_fetches_little_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/look/x.jsonl", b'{"text": "a"}\n' * 300_000)
    fetched = []
    plain = Connection.read
    monkeypatch.setattr(
        Connection, "read", lambda self, url, begin, end: fetched.append(end - begin) or plain(self, url, begin, end)
    )
    with raw(find_files(["memory://look/x.jsonl"])[0]) as stream:
        assert stream.readline() == b'{"text": "a"}\n'
    assert fetched == [reader_module.FIRST]


def test_faults_of_the_store_are_not_taken_for_faults_of_the_file(s3, texts: Path, monkeypatch) -> None:
    url = s3.upload(texts, "texts")
    expected = read(texts / "web", field="content")
    s3.faults(cut=3, unavailable=1)
    assert read(f"{url}/web", field="content") == expected
    monkeypatch.setenv("SPIRITLM_STORAGE_RETRY_SECONDS", "1")
    for name in ("web/a/part-1.jsonl.gz", "web/a/part-4.jsonl.zst", "tables/t.parquet", "saved/data-0.arrow"):
        source = open_source([f"{url}/{name}"], TextOptions(field="content"))
        s3.faults(forbidden=99)
        with pytest.raises(PermissionError, match=f"{url}/{name} must be readable, but the store refuses it"):
            list(source.all_texts(Skipped()))
        s3.faults(away=4)
        with pytest.raises(OSError, match=f"{url}/{name} must come within 1 s, but did not"):
            list(source.all_texts(Skipped()))
        s3.faults()


def test_missing_cut_off_and_changed_objects_are_named(s3, texts: Path) -> None:
    url = s3.upload(texts, "texts")
    for pattern, message in (
        ("none.jsonl", f"text must be files, folders or patterns, but {url}/none.jsonl is not there"),
        ("web/*.csv", rf"text must be files, folders or patterns, but no file matches {url}/web/\*\.csv"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            find_files([f"{url}/{pattern}"])
    with pytest.raises(OSError, match=r"s3://no-such-bucket must be a bucket of the store, but does not exist"):
        find_files(["s3://no-such-bucket/a"])
    with pytest.raises(ValueError, match=f"text_field must be a field of the data, but {url}/web/a/part-0.jsonl has"):
        read(f"{url}/web")
    cut = texts / "cut" / "c.jsonl.gz"
    cut.parent.mkdir()
    cut.write_bytes(gzip.compress(ROWS)[:-300])
    s3.upload(cut.parent, "texts/cut")
    (found, lines), (_, here) = read(f"{url}/cut", field="content"), read(cut.parent, field="content")
    assert not found and len(lines) == 1 and f"file damaged from there on, such as {url}/cut/c.jsonl.gz" in lines[0]
    assert lines[0].replace(url, "") == here[0].replace(str(texts), "")
    source = open_source([f"{url}/cut"], TextOptions(field="content"))
    fsspec.filesystem("s3").pipe(f"{url}/cut/c.jsonl.gz", gzip.compress(ROWS))
    with pytest.raises(ValueError, match=f"text must stay as it is while it is read, but {url}/cut/c.jsonl.gz has ch"):
        source.check_unchanged()


def test_texts_that_change_while_all_are_read_are_refused(s3, tmp_path: Path) -> None:
    path = tmp_path / "texts" / "a.txt"
    path.parent.mkdir()
    path.write_bytes(b"one\ntwo\n")
    url = s3.upload(path.parent, "texts")
    changes = {f"{url}/a.txt": fsspec.filesystem("s3").pipe, str(path): lambda _, data: path.write_bytes(data)}
    for name, change in changes.items():
        texts = open_source([name], TextOptions()).all_texts(Skipped())
        assert next(texts)[1] == "one"
        change(name, b"one\nthree\n")
        with pytest.raises(ValueError, match=f"text must stay as it is while it is read, but {name} has changed mean"):
            list(texts)


def test_a_time_is_the_same_mark_in_a_listing_and_of_one_object() -> None:
    files = fsspec.filesystem("memory")  # it lists times as numbers, and tells them of one object as dates
    files.pipe("/marks/d/x.txt", b"a text")
    source = open_source(["memory://marks/d"], TextOptions())
    source.check_unchanged()
    files.pipe("/marks/d/x.txt", b"a word")
    with pytest.raises(ValueError, match="but memory://marks/d/x.txt has changed meanwhile"):
        source.check_unchanged()


@pytest.mark.parametrize("state", [{"size": 3}, {"size": None, "ETag": "1"}])
def test_objects_without_a_mark_or_a_size_are_refused(state: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/bare/x.txt", b"abc")
    monkeypatch.setattr(type(files), "info", lambda self, path, **options: {"name": path, "type": "file", **state})
    with pytest.raises(
        OSError, match="memory://bare/x.txt must be readable, but is not: the store tells no size or no v"
    ):
        find_files(["memory://bare/x.txt"])


@pytest.mark.slow
def test_blocks_and_tokenizers_are_those_of_the_disk(s3, texts: Path, units: Path, tmp_path: Path) -> None:
    url = s3.upload(texts, "texts")
    for name, root in (("here", texts), ("there", url)):
        out = tmp_path / name
        run(["train-text-tokenizer", f"{out}/tokenizer", "--text", f"[{root}/web]", "--text-field", "content"])
        run(
            [
                *("build-blocks", f"[{units}]", f"{out}/tokenizer", f"{out}/blocks", "--num-jobs", "2"),
                *("--text", f"{{web: ['{root}/web', '{root}/tables'], books: ['{root}/books/**/*.txt']}}"),
                *("--text-field", "{web: content}"),
            ]
        )
    here, there = (
        {str(path.relative_to(tmp_path / name)): path for path in (tmp_path / name).rglob("*.*") if path.is_file()}
        for name in ("here", "there")
    )
    assert here.keys() == there.keys()
    for name, path in here.items():
        if path.name not in ("manifest.json", "lineage.json"):
            assert path.read_bytes() == there[name].read_bytes(), name
    sources = json.loads((tmp_path / "there/blocks/train/text-books/manifest.json").read_text())["sources"]["text"]
    assert sorted(sources) == [f"{url}/books/deep/two.txt", f"{url}/books/one.txt"]
    assert all(value.startswith("version ") for value in sources.values())
