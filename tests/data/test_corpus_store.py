import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.data.corpus_store import (
    TimedWord,
    UnitUtterance,
    finish_folder,
    has_rows,
    part_is_finished,
    recorded_fingerprint,
    write_part,
)
from spiritlm_pl.data.frames import unit_frames
from spiritlm_pl.data.unit_corpus import UnitCorpus, common_layout
from spiritlm_pl.data.unit_index import UnitIndex
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.streams import SpeechLayout


def utterance(name: str) -> UnitUtterance:
    return UnitUtterance(
        id=name,
        corpus="c",
        speaker="s",
        duration=0.2,
        text="hello",
        words=(TimedWord("hello", 0.0, 0.15),),
        units=np.array([7, 499, 7], dtype=np.uint16),
        unit_starts=np.array([0, 2, 3], dtype=np.uint32),
        num_frames=5,
        custom={"story": name, "sentence_ends": [1]},
    )


@pytest.fixture
def units(tmp_path: Path) -> Path:
    folder = tmp_path / "units" / "train"
    write_part(folder, 0, [utterance("a"), utterance("b")], "print")
    write_part(folder, 1, [utterance("c")], "print")
    write_part(folder, 2, [utterance("stale")], "other")
    finish_folder(
        folder,
        ["print", "print"],
        layout=SpeechLayout.spirit_lm(num_units=500, frame_rate=25.0),
        provenance={"tokenizer": "t"},
    )
    return tmp_path / "units"


def test_what_is_written_is_read(units: Path) -> None:
    corpus = UnitCorpus(units)
    assert len(corpus) == 3 and [u.id for u in corpus] == ["a", "b", "c"] and corpus[-1].id == "c"
    assert (corpus.frame_rate, corpus.num_units) == (25.0, 500)
    found = UnitIndex(corpus)["b"]
    expected = utterance("b")
    assert unit_frames(found).tolist() == [7, 7, 499, 7, 7] and found.units.dtype == np.uint16
    assert found.words == expected.words and found.custom == expected.custom and found.text == "hello"
    assert not list((units / "train").glob("part-00002.*"))


def test_only_own_whole_parts_are_finished(units: Path) -> None:
    folder = units / "train"
    assert part_is_finished(folder, 0, "print") and not part_is_finished(folder, 0, "another")
    assert not part_is_finished(folder, 7, "print")
    path = folder / "part-00000.parquet"
    content = path.read_bytes()
    for damaged in (content[:-20], content[:200] + bytes([content[200] ^ 1]) + content[201:]):
        path.write_bytes(damaged)
        assert not part_is_finished(folder, 0, "print")
    path.write_bytes(content)
    assert part_is_finished(folder, 0, "print")
    path.with_suffix(".json").unlink()  # as if killed between the two
    assert not part_is_finished(folder, 0, "print")


def test_finishing_does_not_take_a_part_of_another_run(units: Path) -> None:
    with pytest.raises(FileNotFoundError, match="part-00001.parquet must have been written by this run"):
        finish_folder(
            units / "train",
            ["print", "new"],
            layout=SpeechLayout.spirit_lm(num_units=500, frame_rate=25.0),
            provenance={},
        )


def test_a_part_that_skipped_is_finished_until_the_recording_changes(tmp_path: Path) -> None:
    recording = tmp_path / "b.wav"
    recording.touch()
    skipped = [Skipped("b", str(recording), "zero bytes"), Skipped("c", str(tmp_path / "c.wav"), "missing")]
    write_part(tmp_path, 0, [utterance("a")], "print", skipped)
    assert part_is_finished(tmp_path, 0, "print")
    recording.write_bytes(b"mended")
    assert not part_is_finished(tmp_path, 0, "print")


def test_finishing_does_not_bless_damage(units: Path) -> None:
    path = units / "train" / "part-00001.parquet"
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    finish_folder(
        units / "train",
        ["print", "print"],
        layout=SpeechLayout.spirit_lm(num_units=500, frame_rate=25.0),
        provenance={},
    )
    with pytest.raises(ValueError, match="part-00001.parquet must have SHA-256"):
        UnitCorpus(units)[2]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_named(units: Path, damage: str) -> None:
    path = units / "train" / "part-00001.parquet"
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage == "flip" else content[:-9])
    corpus = UnitCorpus(units)
    assert corpus[0].id == "a"
    with pytest.raises((ValueError, FileNotFoundError), match="part-00001.parquet"):
        corpus[2]


def test_damage_is_named_without_checksums(units: Path) -> None:
    path = units / "train" / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="part-00001.parquet must be a readable part, but is damaged"):
        UnitCorpus(units, verify=False)[2]


@pytest.mark.parametrize("value", [[4], None, "4", True, -4])
def test_values_of_another_type_are_named(units: Path, value: object) -> None:
    path = units / "train" / "manifest.json"
    description = json.loads(path.read_text())
    description["files"][0]["bytes"] = value
    (path.parent / CHECKSUMS).unlink()
    path.write_text(json.dumps(description))
    with pytest.raises(ValueError, match=r"manifest.json must be .* damaged: bytes must be of type int, and not neg"):
        UnitCorpus(units)


def test_the_hash_of_the_tokenizer_is_a_text(units: Path) -> None:
    path = units / "train" / "manifest.json"
    description = json.loads(path.read_text())
    description["provenance"]["tokenizer_sha256"] = {"value": "81"}
    (path.parent / CHECKSUMS).unlink()
    path.write_text(json.dumps(description))
    with pytest.raises(ValueError, match=r"manifest.json must be .* damaged: tokenizer_sha256 must be of type str"):
        UnitCorpus(units)


def test_an_unfinished_corpus(tmp_path: Path) -> None:
    write_part(tmp_path / "train", 0, [utterance("a")], "print")
    with pytest.raises(FileNotFoundError, match="manifest.json is not there"):
        UnitCorpus(tmp_path)
    with pytest.raises(FileNotFoundError, match="part-00001.parquet"):
        finish_folder(
            tmp_path / "train",
            ["print", "print"],
            layout=SpeechLayout.spirit_lm(num_units=9, frame_rate=25.0),
            provenance={},
        )


def test_a_failed_write_keeps_the_previous_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_part(tmp_path, 0, [utterance("a")], "print")
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_part(tmp_path, 0, [utterance("b")], "print")
    assert path.read_bytes() == before and part_is_finished(tmp_path, 0, "print")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["part-00000.json", "part-00000.parquet"]


def test_shards_of_tokenizers_with_other_weights_are_not_mixed(tmp_path: Path) -> None:
    units, starts = np.array([1], dtype="uint16"), np.array([0], dtype="uint32")
    row = UnitUtterance(id="x", units=units, unit_starts=starts, num_frames=2)
    corpora = []
    for name, sha256 in (("one", "a"), ("same", "a"), ("old", None), ("other", "b")):
        write_part(tmp_path / name / "train", 0, [row], "print")
        provenance = {} if sha256 is None else {"tokenizer_sha256": sha256}
        layout = SpeechLayout.spirit_lm(num_units=9, frame_rate=25.0)
        finish_folder(tmp_path / name / "train", ["print"], layout=layout, provenance=provenance)
        corpora.append(UnitCorpus(tmp_path / name))
    assert common_layout(corpora[:3]) == corpora[0].layout
    with pytest.raises(ValueError, match="from one tokenizer, but those of .*same.* and .*other.* other weights"):
        common_layout(corpora)


def test_a_corpus_that_was_read_goes_to_another_process(units: Path) -> None:
    corpus = UnitCorpus(units, verify=False)
    assert corpus[0].id == "a"
    copy = pickle.loads(pickle.dumps(corpus))
    assert [copy[0].id, copy[2].id] == ["a", "c"] and not copy.verify


@pytest.mark.parametrize("content", ["[]", "{", '{"fingerprint": "print"}', "skipped", "rows"])
def test_a_damaged_record_is_none(units: Path, content: str) -> None:
    folder = units / "train"
    path = folder / "part-00000.json"
    entry = json.loads(path.read_text())
    path.write_text(json.dumps(entry | {content: ["a"]}) if content in entry else content)
    assert not part_is_finished(folder, 0, "print") and not has_rows(folder, 0, "print")
    assert recorded_fingerprint(folder, 0) is None
    with pytest.raises(FileNotFoundError, match="part-00000.parquet must have been written by this run"):
        finish_folder(
            folder, ["print"] * 2, layout=SpeechLayout.spirit_lm(num_units=500, frame_rate=25.0), provenance={}
        )
