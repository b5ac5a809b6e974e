"""Files of a source of texts: paths, folders, patterns, saved datasets, and names that tell them apart."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest

from spiritlm_pl.corpora.text_files.files import distinct_names
from spiritlm_pl.corpora.text_files.finding import find_files
from spiritlm_pl.corpora.text_files.options import TextOptions
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.source import open_source
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer


def write(path: Path, content: bytes = b"the cat\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_dataset(folder: Path, texts: list[str], state: object = None) -> Path:
    """As `Dataset.save_to_disk` does it: an Arrow stream, and a description."""
    table = pa.table({"id": list(range(len(texts))), "text": texts})
    folder.mkdir(parents=True)
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as stream,
    ):
        stream.write_table(table, max_chunksize=2)
    (folder / "dataset_info.json").write_text("{}")
    described = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "state.json").write_text(json.dumps(described if state is None else state))
    return folder


def texts(*patterns: Path | str, **options: str) -> list[tuple[str, str]]:
    return list(open_source([str(pattern) for pattern in patterns], TextOptions(**options)).all_texts(Skipped()))


def test_files_of_equal_names_have_different_keys(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write(tmp_path / folder / "part-00000.txt")
    found = texts(tmp_path)
    assert [key for key, _ in found] == ["a/part-00000.txt:0", "b/part-00000.txt:0"]
    assert [key for key, _ in texts(tmp_path / "a")] == ["part-00000.txt:0"]  # no more of the path than needed


def test_names_are_as_short_as_they_can_be() -> None:
    paths = [Path("/x/1/a/p.txt"), Path("/x/1/b/p.txt"), Path("/x/2/a/p.txt")]
    assert distinct_names(paths) == ["1/a/p.txt", "1/b/p.txt", "2/a/p.txt"]
    assert distinct_names([]) == [] and distinct_names(paths[:1]) == ["p.txt"]


def test_a_text_tokenizer_is_not_read_from_object_storage() -> None:
    with pytest.raises(
        ValueError, match="text_tokenizer must be a local file or folder, but is s3://bucket/lm instead"
    ):
        TextTokenizer.load("s3://bucket/lm")


def test_folders_patterns_and_paths(tmp_path: Path) -> None:
    write(tmp_path / "b" / "one.jsonl.gz", gzip.compress(b'{"text": "one"}\n'))
    write(tmp_path / "b" / "deep" / "two.txt", b"two\n")
    write(tmp_path / "b" / "README.md"), write(tmp_path / "b" / ".hidden.txt"), write(tmp_path / "b" / "_SUCCESS.txt")
    write(tmp_path / "code" / "f.py", b"def f():\n    return 1\n")
    write(tmp_path / "odd[1].txt", b"odd\n")
    assert [text for _, text in texts(tmp_path / "b")] == ["two", "one"]
    assert [text for _, text in texts(f"{tmp_path}/**/*.py", documents="file")] == ["def f():\n    return 1"]
    assert [text for _, text in texts(tmp_path / "odd[1].txt")] == ["odd"]
    assert len(find_files([f"{tmp_path}/*"])) == 1 and len(find_files([f"{tmp_path}/b*"])) == 2  # files first
    for patterns, error, message in (
        (
            [tmp_path / "none.txt"],
            FileNotFoundError,
            "text must be files, folders or patterns, but .*none.txt is not th",
        ),
        ([tmp_path / "*.parquet"], FileNotFoundError, r"but no file matches .*\*.parquet"),
        ([tmp_path / "code"], FileNotFoundError, r"must be a folder with files that end with .txt, .jsonl.* has none"),
        (
            [tmp_path / "b", f"{tmp_path}/b/deep/*"],
            ValueError,
            "must name every file once, but .*two.txt is named twice",
        ),
    ):
        with pytest.raises(error, match=message):
            find_files([str(pattern) for pattern in patterns])


def test_a_saved_dataset_is_read(tmp_path: Path) -> None:
    written = ["one\n\ntwo", "three", "  four ", "five", "six"]
    folder = write_dataset(tmp_path / "all" / "train", written)
    assert texts(folder) == [(f"data-00000-of-00001.arrow:{row}", text) for row, text in enumerate(written)]
    write_dataset(tmp_path / "all" / "test", written)
    (tmp_path / "all" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(
        ValueError, match="must name one split of a dataset, but .*all has test, train: take .*all/train"
    ):
        texts(tmp_path / "all")
    for state, error, message in (
        (
            {"_data_files": [{"filename": "gone.arrow"}]},
            FileNotFoundError,
            "whole dataset, but .*gone.arrow is not there",
        ),
        ({"_data_files": [], "_indices_data_files": [{}]}, ValueError, "dataset without indices, but .* has some"),
        ([], ValueError, "must be a folder of Dataset.save_to_disk, but .*state.json"),
    ):
        (folder / "state.json").write_text(json.dumps(state))
        with pytest.raises(error, match=message):
            texts(folder)


def test_the_datasets_package_writes_what_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    written = [f"document {number}\nwith é" for number in range(7)]
    datasets.Dataset.from_dict({"content": written}).save_to_disk(tmp_path / "saved", num_shards=2)
    assert sorted(text for _, text in texts(tmp_path / "saved", field="content")) == written


JSON = "text must be JSON with one object a line, but "
WRONG = [
    (
        "a.jsonl",
        b'{"id": 1, "b": "x"}\n',
        "text_field must be a field of the data, but .*a.jsonl has b, id, not 'text'",
    ),
    ("a.json", b'[{"text": "x"},\n {"text": "y"}]\n', JSON + ".*a.json is one list"),
    ("a.jsonl", b"the cat\n", JSON + "the first lines of .*a.jsonl have none"),
    ("a.txt", "the cat".encode("utf-16"), "text must be UTF-8, but .*a.txt is binary or in another encoding instead"),
    ("a.txt.gz", b"the cat\n", "text must be a gzip file as its name says, but .*a.txt.gz is not"),
    ("a.jsonl.zst", b"{}\n", "text must be a zstd file as its name says, but .*a.jsonl.zst is not"),
    ("a.parquet", b"PAR1 no", "text must be parquet files, but .*a.parquet is not"),
    ("a.arrow", b"ARROW1 no", "text must be arrow files, but .*a.arrow is not"),
    ("a.parquet.gz", b"", "text must be a parquet file as it was written, but .*a.parquet.gz is compressed"),
    ("a.txt", b"\n \n", "text must hold words, but there are none in .*a.txt$"),
    ("a.jsonl", b'{"text": ""}\n' * 2, "none in .*a.jsonl .left out: 2 x empty document, such as .*l:1"),
]


@pytest.mark.parametrize(("name", "content", "message"), WRONG, ids=[message[-30:] for _, _, message in WRONG])
def test_files_that_are_not_what_they_should_be_are_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        texts(write(tmp_path / name, content))


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="text_documents must be one of line, blank_line, file, but is 'page' instead"):
        TextOptions(documents="page")
    with pytest.raises(ValueError, match="text_field must be the name of a field, but is empty instead"):
        TextOptions(field="")
