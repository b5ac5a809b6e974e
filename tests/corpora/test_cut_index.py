"""Cuts that are parsed when they are looked up, from an index that is made once."""

import errno
import gzip
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from spiritlm_pl.corpora import cut_index
from spiritlm_pl.corpora.cut_index import CutIndex
from spiritlm_pl.corpora.cuts import Cuts
from spiritlm_pl.corpora.manifest import cuts_path, load_cuts, write_cuts
from spiritlm_pl.runtime import flat_index
from spiritlm_pl.runtime.flat_index import FlatIndex


@pytest.fixture
def corpus(make_corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cut_index, "BLOCK", 3)
    return make_corpus(tmp_path / "tones")


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Manifests from which an index was made, in order."""
    seen: list[Path] = []
    build = cut_index._build

    def counted(path: Path, writer: flat_index.IndexWriter) -> None:
        seen.append(path)
        build(path, writer)

    monkeypatch.setattr(cut_index, "_build", counted)
    return seen


def index_folder(corpus: Path, split: str = "train") -> Path:
    (folder,) = (corpus / ".index").glob(f"cuts_{split}-*")
    return folder


def test_cuts_are_those_of_the_manifest(corpus: Path) -> None:
    expected = list(load_cuts(corpus, "train"))
    index = CutIndex(corpus, "train")
    for found in (index, pickle.loads(pickle.dumps(index))):
        assert list(found) == expected and len(found) == 8
        assert found.durations.tolist() == [cut.duration for cut in expected]
        assert list(found.names) == [cut.id for cut in expected]
        assert [found.names.find(cut.id) for cut in expected] == list(range(8)) and found.names.find("other") is None
        speakers = [found.speaker_names[number] for number in found.speakers]
        assert speakers == [cut.supervisions[0].speaker for cut in expected]
    both = Cuts([CutIndex(corpus, "validation"), index])
    assert both.ids == [cut.id for split in ("validation", "train") for cut in load_cuts(corpus, split)]
    assert list(both[::-1]) == list(both)[::-1] and both.find(expected[3].id) == 5
    assert both.counts("speaker") == {"speaker0": 5, "speaker1": 5} and not both.having("style").any()


def test_a_stale_index_is_made_anew(corpus: Path, builds: list[Path]) -> None:
    first = CutIndex(corpus, "train")
    assert len(CutIndex(corpus, "train")) == 8 and len(builds) == 1
    kept = index_folder(corpus)
    write_cuts(corpus, "train", list(load_cuts(corpus, "train"))[:5])
    assert len(CutIndex(corpus, "train")) == 5 and len(builds) == 2
    assert index_folder(corpus) != kept  # the old one is gone, but whoever reads it goes on
    assert len(list(first)) == 8


def test_other_contents_of_the_same_size_and_time(corpus: Path, builds: list[Path]) -> None:
    path = cuts_path(corpus, "train")
    content = gzip.decompress(path.read_bytes())
    for lines in (content, content.replace(b"speaker0", b"speaker7")):
        path.write_bytes(gzip.compress(lines, 0, mtime=0))
        os.utime(path, ns=(10**18, 10**18))
        found = CutIndex(corpus, "train")
    assert "speaker7" in found.speaker_names and len(builds) == 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no cut", "no JSON"])
def test_a_damaged_manifest_is_named(corpus: Path, damage: str) -> None:
    CutIndex(corpus, "train")
    path = cuts_path(corpus, "train")
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[:-30]
    elif damage == "flipped":
        content[len(content) // 2] ^= 16
    else:
        lines = gzip.decompress(content) + (b'{"id": "x"}\n' if damage == "no cut" else b"{\n")
        content = bytearray(gzip.compress(lines))
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"manifest must be intact, but {path} is damaged"):
        CutIndex(corpus, "train")
    assert [one.name for one in (corpus / ".index").glob(".*")] == []  # nothing unfinished is left


@pytest.mark.parametrize("name", ["durations", "records", "name_bounds"])
def test_a_damaged_index_is_made_anew(corpus: Path, builds: list[Path], name: str) -> None:
    expected = list(CutIndex(corpus, "train"))
    path = index_folder(corpus) / f"{name}.bin"
    path.write_bytes(path.read_bytes()[:-1])
    assert list(CutIndex(corpus, "train")) == expected and len(builds) == 2
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    if name == "records":  # which are checked when they are read
        with pytest.raises(ValueError, match="is damaged: remove it"):
            list(CutIndex(corpus, "train"))
    else:
        assert list(CutIndex(corpus, "train")) == expected and len(builds) == 3


def test_a_folder_that_cannot_be_written_to(corpus: Path, builds: list[Path], tmp_path: Path) -> None:
    (corpus / ".index").write_text("")  # as good as a read-only folder, also for root
    for _ in range(2):
        assert list(CutIndex(corpus, "train")) == list(load_cuts(corpus, "train"))
    assert len(builds) == 1 and len(list((tmp_path / "cache").glob("spiritlm-pl/index/*/cuts_train-*"))) == 1
    (tmp_path / "cache").rename(tmp_path / "gone")
    (tmp_path / "cache").write_text("")
    with pytest.raises(OSError, match="an index must be written beside its files or in .*cache"):
        CutIndex(corpus, "train")


def _open(corpus: Path, start: Barrier, results: "multiprocessing.Queue[int]") -> None:
    start.wait()
    results.put(sum(round(cut.duration * 16_000) for cut in CutIndex(corpus, "train")))


def test_two_processes_make_the_index_at_once(corpus: Path) -> None:
    expected = sum(round(cut.duration * 16_000) for cut in load_cuts(corpus, "train"))
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(4), context.Queue()
    members = [context.Process(target=_open, args=(corpus, start, results)) for _ in range(4)]
    for member in members:
        member.start()
    assert [results.get(timeout=20) for _ in members] == [expected] * 4
    for member in members:
        member.join()
    assert len(FlatIndex(index_folder(corpus)).arrays["durations"]) == 8
    assert [path.name for path in (corpus / ".index").iterdir()] == [index_folder(corpus).name]


def test_an_index_that_another_process_removes_is_made_anew(
    corpus: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def removed(home: Path, name: str, title: str) -> None:
        if len(builds) < 2:
            shutil.rmtree(home / title)

    monkeypatch.setattr(flat_index, "_remove_others", removed)
    assert len(CutIndex(corpus, "train")) == 8 and len(builds) == 2


def test_a_process_that_starts_after_a_change_is_told(corpus: Path) -> None:
    index = CutIndex(corpus, "train")
    sent = pickle.dumps(index)
    assert pickle.loads(sent)[7].id == index[7].id
    write_cuts(corpus, "train", list(load_cuts(corpus, "train"))[:2])
    assert len(CutIndex(corpus, "train")) == 2 and index[7].id
    with pytest.raises(ValueError, match="files must stay as they are while .* start again"):
        pickle.loads(sent)


def test_a_full_disk(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = flat_index.IndexWriter.append

    def full(writer: flat_index.IndexWriter, name: str, values: Any) -> None:
        if writer.folder.is_relative_to(corpus) and name == "records":
            raise OSError(errno.ENOSPC, "No space left on device")
        append(writer, name, values)

    monkeypatch.setattr(flat_index.IndexWriter, "append", full)
    assert len(CutIndex(corpus, "train")) == 8
    assert len(list((tmp_path / "cache").rglob("cuts_train-*"))) == 1 and not list((corpus / ".index").iterdir())


def test_blocks_are_kept_up_to_a_number_of_bytes(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = CutIndex(corpus, "train")
    numbers = range(-(-len(index) // cut_index.BLOCK))
    sizes = [len(b"\n".join(index._block(number))) for number in numbers]
    assert len(sizes) > 2 and len(index._blocks) == len(sizes) and index._kept == sum(sizes)
    monkeypatch.setattr(cut_index, "KEPT", 2 * max(sizes))
    bounded = CutIndex(corpus, "train")
    for number in (*numbers, numbers[-1], 0):
        row = number * cut_index.BLOCK
        assert bounded[row] == index[row]
        assert bounded._kept == sum(len(b"\n".join(lines)) for lines in bounded._blocks.values()) <= 2 * max(sizes)
