"""SALMon's folders with gaps in their numbers, and its Parquet files, in which parts come several times."""

from collections.abc import Callable
from pathlib import Path

import pytest

from spiritlm_pl.benchmarks.averages.salmon import PARTS
from spiritlm_pl.benchmarks.items import check_unique
from spiritlm_pl.benchmarks.readers import salmon
from spiritlm_pl.generation.types import Speech

Noise = Callable[[Path], Path]


@pytest.fixture
def folders(tmp_path: Path, noise: Noise) -> Path:
    for part in PARTS:
        for number in (0, 3, 11):
            for side in (0, 1):
                noise(tmp_path / "salmon_benchmark" / part / f"sample_{number}_{side}.wav")
    return tmp_path


def test_numbers_have_gaps(folders: Path) -> None:
    reading = salmon.read(folders)
    assert (reading.layout, reading.skipped, reading.notes) == ("zip", [], [])
    assert len(reading.items) == 24
    inner = [item for item in reading.items if item.labels["part"] == "rir_consistency"]
    assert [item.id for item in inner] == [f"rir_consistency/{number}" for number in (0, 3, 11)]
    (piece,) = inner[2].wrong
    assert isinstance(piece, Speech) and str(piece.audio).endswith("rir_consistency/sample_11_1.wav")
    assert inner[2].names == ("rir_consistency/sample_11_0", "rir_consistency/sample_11_1")
    check_unique(reading.items, folders)


def test_a_missing_side_costs_its_pair_and_other_files_are_told(folders: Path, noise: Noise) -> None:
    part = folders / "salmon_benchmark" / "bg_alignment"
    (part / "sample_3_0.wav").unlink()
    noise(part / "sample_3_2.wav")
    reading = salmon.read(folders)
    assert len(reading.items) == 23
    assert "pair 3 of" in reading.skipped[0].reason and "lacks its right recording" in reading.skipped[0].reason
    assert "bg_alignment/sample_3_2.wav" in reading.notes[0]


def test_parts_are_chosen_and_missing_ones_told(folders: Path) -> None:
    one = folders / "salmon_benchmark" / "gender_consistency"
    assert {item.labels["part"] for item in salmon.read(one).items} == {"gender_consistency"}
    assert (
        "lacks sentiment_consistency, speaker_consistency, bg_domain_consistency and 4 more"
        in salmon.read(one).notes[0]
    )
    assert len(salmon.read(folders, parts="rir_consistency").items) == 3
    chosen = salmon.read(folders, parts=["bg_alignment", "rir_consistency"])
    assert len(chosen.items) == 6 and not chosen.notes
    with pytest.raises(ValueError, match="must hold bg_alignment, but has only gender_consistency|but has only none"):
        salmon.read(one, parts=["bg_alignment"])
    with pytest.raises(ValueError, match="must hold folders such as gender_consistency with sample_<i>_0.wav"):
        (folders / "other").mkdir()
        (folders / "other" / "a.wav").touch()
        salmon.read(folders / "other")


def test_rows_of_the_hub_come_once(tmp_path: Path, write_parquet: Callable[..., Path]) -> None:
    parts = {
        name: [{"task": name, "ind": ind, "positive_audio": True, "negative_audio": True} for ind in (0, 4)]
        for name in ("bg_alignment", "rir_consistency")
    }
    parts["all"] = [row for rows in parts.values() for row in rows]
    for name, rows in parts.items():
        write_parquet(tmp_path / "hub" / name / "train-00000-of-00001.parquet", rows)
    reading = salmon.read(tmp_path / "hub", cache=tmp_path / "cache")
    assert sorted(item.id for item in reading.items) == [
        "bg_alignment/0",
        "bg_alignment/4",
        "rir_consistency/0",
        "rir_consistency/4",
    ]
    assert reading.notes[0] == "4 pairs come several times and are taken once"
    assert len(list((tmp_path / "cache").rglob("*.wav"))) == 8
    assert len(salmon.read(tmp_path / "hub", parts=["bg_alignment"], cache=tmp_path / "cache").items) == 2
