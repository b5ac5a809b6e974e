"""Units that are read one utterance at a time are those of the Parquet parts."""

from pathlib import Path

import numpy as np
import pytest

from spiritlm_pl.corpora.cut_index import CutIndex
from spiritlm_pl.corpora.cuts import Cuts
from spiritlm_pl.corpora.manifest import make_cut, save_corpus
from spiritlm_pl.data.corpus_store import UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.flat_units import FlatUnits
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.streams import PITCH, STYLE, SpeechLayout

LAYOUT = SpeechLayout.spirit_lm(num_units=90, frame_rate=25.0, num_pitches=20, num_styles=9)


def utterance(number: int) -> UnitUtterance:
    random = np.random.default_rng(number)
    count = number % 4  # one in four has no units
    return UnitUtterance(
        id=f"ü{number}",
        corpus=f"corpus{number % 2}",
        units=random.integers(90, size=count).astype(np.uint16),
        unit_starts=np.arange(count, dtype=np.uint32) * 3,
        num_frames=3 * count,
        codes={PITCH: random.integers(20, size=2 * count).astype(np.uint16), STYLE: np.zeros(count, np.uint16)},
    )


def write(folder: Path, numbers: list[list[int]]) -> None:
    for index, members in enumerate(numbers):
        write_part(folder / "train", index, [utterance(number) for number in members], "x")
    finish_folder(folder / "train", ["x"] * len(numbers), layout=LAYOUT, provenance={})


def test_utterances_are_those_of_the_parts(tmp_path: Path) -> None:
    write(tmp_path / "one", [[3, 1, 4], [], [8, 5]])
    write(tmp_path / "two", [[2, 6], [7]])
    folders = [str(tmp_path / name) for name in ("one", "two")]
    expected = [said for folder in folders for said in UnitCorpus(folder)]
    units = FlatUnits(folders, "train")
    for row, said in enumerate(expected):
        for found in (units.at(row), units[said.id]):
            assert (found.id, found.corpus, found.num_frames) == (said.id, said.corpus, said.num_frames)
            assert found.units.tolist() == said.units.tolist() and found.units.dtype == np.uint16
            assert found.unit_starts.tolist() == said.unit_starts.tolist()
            assert {name: codes.tolist() for name, codes in found.codes.items()} == {
                name: codes.tolist() for name, codes in said.codes.items()
            }
    rows = np.array([6, 0])
    names, numbers = units.by_corpus(rows)
    assert [names[number] for number in numbers] == [expected[6].corpus, expected[0].corpus]
    assert units.num_frames(rows).tolist() == [expected[6].num_frames, expected[0].num_frames]
    with pytest.raises(KeyError, match="ü9"):
        units["ü9"]


def test_rows_of_cuts(tmp_path: Path) -> None:
    ids = ["ü9", "ü4", "ü3", "other"]
    cuts = [make_cut(i, tmp_path / "x.wav", sample_rate=16_000, num_samples=9, text="", speaker="") for i in ids]
    save_corpus(tmp_path / "corpus", {"train": cuts}, name="n", source="s", licence="l")
    write(tmp_path / "units", [[3, 1, 4]])
    units = FlatUnits([str(tmp_path / "units")], "train")
    assert units.rows_of(Cuts([CutIndex(tmp_path / "corpus", "train")])).tolist() == [-1, 2, 0, -1]


def test_new_and_damaged_parts_are_seen(tmp_path: Path) -> None:
    folder = tmp_path / "units"
    write(folder, [[3, 1], [4]])
    assert FlatUnits([str(folder)], "train").num_frames(np.arange(3)).tolist() == [9, 3, 0]
    write(folder, [[3, 2], [4]])
    assert FlatUnits([str(folder)], "train").num_frames(np.arange(3)).tolist() == [9, 6, 0]
    path = folder / "train" / "part-00001.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    with pytest.raises(ValueError, match=r"part-00001.parquet must have \d+ bytes, but has"):
        FlatUnits([str(folder)], "train")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="part-00001.parquet must be there, but is missing"):
        FlatUnits([str(folder)], "train")


def test_codes_of_most_utterances_are_counted_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "one", [[3, 1, 5], [], [9, 11]])
    write(tmp_path / "two", [[2, 6], [7]])
    units = FlatUnits([str(tmp_path / name) for name in ("one", "two")], "train")
    read: list[int] = []
    at = units.at
    monkeypatch.setattr(units, "at", lambda row: (read.append(row), at(row))[1])
    for rows, reads in ((range(8), []), ([0, 1, 2, 4, 5, 6], [3, 7]), ([7, 0], [0, 7]), ([], [])):
        codes = np.concatenate([np.empty(0, int), *(at(row).codes[PITCH] for row in rows)])
        read.clear()
        counts = units.code_counts(np.array(rows, dtype=np.int64), PITCH)
        assert counts.tolist() == np.bincount(codes, minlength=1 << 16).tolist() and read == reads
