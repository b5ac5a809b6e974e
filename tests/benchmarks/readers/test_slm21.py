"""sWUGGY and sBLIMP in every layout, whole and damaged."""

import csv
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spiritlm_pl.benchmarks.items import ChoiceItem, check_unique
from spiritlm_pl.benchmarks.readers.slm21 import read_sblimp, read_swuggy
from spiritlm_pl.generation.types import Speech, Text

Write = Callable[..., Path]


def edit(table: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Write a table anew with other rows."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0])
    rows = change(rows) or rows
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def path_of(item: ChoiceItem, wrong: bool = False) -> str:
    (piece,) = item.wrong if wrong else item.right
    assert isinstance(piece, Speech) and isinstance(piece.audio, Path) and piece.audio.is_file()
    return piece.audio.name


def lexical(root: Path, split: str = "dev") -> Path:
    return root / "zr-data" / "sLM21-dataset" / "lexical" / split


def test_words_are_paired_by_voice_and_id(slm21: Path) -> None:
    reading = read_swuggy(slm21)
    assert (reading.layout, reading.skipped, reading.notes) == ("sLM21", [], [])
    assert [(item.id, item.names, item.context) for item in reading.items] == [
        ("A/0", ("brickA", "blickA"), ()),
        ("B/0", ("brickB", "blickB"), ()),
        ("A/1", ("noneA", "nomeA"), ()),
        ("A/2", ("dogA", "gogA"), ()),
    ]
    assert reading.items[0].labels == {"id": "0", "frequency": 12, "length": 5, "voice": "A"}
    assert reading.items[3].labels["frequency"] is None
    assert (path_of(reading.items[1]), path_of(reading.items[1], wrong=True)) == ("brickB.wav", "blickB.wav")
    check_unique(reading.items, slm21)


@pytest.mark.parametrize("inner", ["zr-data", "zr-data/sLM21-dataset", "zr-data/sLM21-dataset/lexical/test"])
def test_any_folder_of_the_tree_will_do(slm21: Path, inner: str) -> None:
    (piece,) = read_swuggy(slm21 / inner, split="test").items[0].right
    assert isinstance(piece, Speech) and isinstance(piece.audio, Path)
    assert piece.audio.parent.name == "test"


def test_a_folder_of_the_other_split_is_not_taken(slm21: Path) -> None:
    with pytest.raises(ValueError, match="must hold lexical/test/gold.csv.* but it has .*dev/gold.csv"):
        read_swuggy(lexical(slm21), split="test")
    with pytest.raises(ValueError, match="must hold syntactic/dev/gold.csv"):
        read_sblimp(lexical(slm21))


def test_order_of_columns_byte_order_mark_blank_lines_and_other_delimiters(slm21: Path) -> None:
    table = lexical(slm21) / "gold.csv"
    wanted = [(item.id, item.labels) for item in read_swuggy(slm21).items]
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted(rows[0], reverse=True)
    lines = ["\t".join(names).upper(), *("\t".join(row[name] for name in names) for row in rows)]
    table.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode() + b"\r\n\r\n")
    assert [(item.id, item.labels) for item in read_swuggy(slm21).items] == wanted


def test_sentences_are_told_apart_by_type_and_subtype(slm21: Path) -> None:
    reading = read_sblimp(slm21)
    assert len(reading.items) == 8 and not reading.notes
    assert reading.items[0].labels == {"type": "agreement", "subtype": "noun", "id": "7", "voice": "A"}
    check_unique(reading.items, slm21)


def test_sentences_in_another_order_are_paired_the_same_and_told(slm21: Path) -> None:
    wanted = {item.id: item.names for item in read_sblimp(slm21).items}
    edit(slm21 / "zr-data/sLM21-dataset/syntactic/dev/gold.csv", lambda rows: random.Random(1).shuffle(rows))
    reading = read_sblimp(slm21)
    assert {item.id: item.names for item in reading.items} == wanted
    [note] = reading.notes
    assert "as the official one does" in note and "7 other pairs" in note


def test_texts_come_once_whatever_the_voices(slm21: Path) -> None:
    reading = read_swuggy(slm21, mode="text")
    assert [(item.id, item.right, item.wrong) for item in reading.items] == [
        ("0", (Text("brick"),), (Text("blick"),)),
        ("1", (Text("none"),), (Text("nome"),)),
        ("2", (Text("dog"),), (Text("gog"),)),
    ]
    assert "voice" not in reading.items[0].labels
    sentences = read_sblimp(slm21, mode="text").items
    assert len(sentences) == 4
    assert sentences[0].right == (Text("the noun, they see it"),)


def test_non_words_without_text_are_skipped_in_text_and_read_in_speech(slm21: Path) -> None:
    def without(rows: list[dict[str, Any]]) -> None:
        rows[1]["word"] = rows[3]["word"] = ""

    edit(lexical(slm21) / "gold.csv", without)
    reading = read_swuggy(slm21, mode="text")
    assert [item.id for item in reading.items] == ["1", "2"]
    assert "has no word" in reading.skipped[0].reason
    assert len(read_swuggy(slm21).items) == 4


def test_missing_and_extra_files_are_told(slm21: Path, noise: Callable[[Path], Path]) -> None:
    (lexical(slm21) / "blickA.wav").unlink()
    noise(lexical(slm21) / "stray.wav")
    reading = read_swuggy(slm21)
    assert [item.id for item in reading.items] == ["B/0", "A/1", "A/2"]
    [skipped] = reading.skipped
    assert skipped.id == "A/0" and "blickA (line 3) has no audio file" in skipped.reason
    [note] = reading.notes
    assert "1 audio files that gold.csv does not name: stray" in note


def test_no_file_at_all_is_an_error(slm21: Path) -> None:
    for path in lexical(slm21).glob("*.wav"):
        path.unlink()
    with pytest.raises(ValueError, match="none of its 4 can: pair A/0 .* brickA .* has no audio file"):
        read_swuggy(slm21)


def test_unequal_pairs_and_broken_rows_are_skipped_with_their_lines(slm21: Path) -> None:
    table = lexical(slm21) / "gold.csv"
    lines = table.read_text().splitlines()
    lines[2] = lines[2].replace("blick", '"blick')  # a quote that is not closed
    lines[6] = lines[6].removesuffix("0") + "maybe"
    lines[7] += ",more"
    table.write_text("\n".join(lines))
    reading = read_swuggy(slm21)
    assert [item.id for item in reading.items] == ["B/0"]
    reasons = [one.reason for one in reading.skipped]
    assert "line 3 of" in reasons[0] and "a quote in it is not closed" in reasons[0]
    assert "line 8 of" in reasons[1] and "9 fields, but the header has 8" in reasons[1]
    assert "line 7 of" in reasons[2] and "correct must be 1 or 0, but is 'maybe'" in reasons[2]
    assert sum("1 right and 0 wrong" in reason for reason in reasons[3:]) == 2
    assert sum("0 right and 1 wrong" in reason for reason in reasons[3:]) == 1


@pytest.mark.parametrize("frequency", ["often", "-1", "1.5", "inf"])
def test_a_frequency_that_is_none_costs_its_pair_alone(slm21: Path, frequency: str) -> None:
    edit(lexical(slm21) / "gold.csv", lambda rows: rows[0].update(frequency=frequency))
    reading = read_swuggy(slm21)
    assert len(reading.items) == 3
    assert f"frequency must be a whole number or empty, but is '{frequency}'" in reading.skipped[0].reason


@pytest.mark.parametrize("frequency", ["", "nan", "NaN", "<NA>", "3.0"])
def test_frequencies_may_be_missing_or_written_with_a_point(slm21: Path, frequency: str) -> None:
    edit(lexical(slm21) / "gold.csv", lambda rows: [row.update(frequency=frequency) for row in rows] and None)
    wanted = 3 if frequency == "3.0" else None
    assert [item.labels["frequency"] for item in read_swuggy(slm21).items] == [wanted] * 4


def test_a_missing_column_is_named(slm21: Path, write_table: Write) -> None:
    write_table(lexical(slm21) / "gold.csv", [{"filename": "a", "correct": 1, "id": 1}], ["filename", "correct", "id"])
    with pytest.raises(ValueError, match=r"lacks frequency, length: it has filename, correct, id"):
        read_swuggy(slm21)


def test_the_older_archive_is_named(tmp_path: Path, noise: Callable[[Path], Path]) -> None:
    noise(tmp_path / "zerospeech2021-dataset" / "lexical" / "dev" / "aAbB.wav")
    with pytest.raises(ValueError, match="older archive zerospeech2021-dataset.zip is without gold.csv"):
        read_swuggy(tmp_path)


def test_an_unknown_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not there"):
        read_swuggy(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds none"):
        read_swuggy(tmp_path)
    (tmp_path / "README.md").write_text("")
    with pytest.raises(ValueError, match="lexical/dev/gold.csv, Parquet files .* but it has 1 other files"):
        read_swuggy(tmp_path)
    with pytest.raises(ValueError, match="split must be dev or test, but is 'train'"):
        read_swuggy(tmp_path, split="train")
    with pytest.raises(ValueError, match="mode must be one of speech, text"):
        read_swuggy(tmp_path, mode="song")  # type: ignore[arg-type]


@pytest.mark.parametrize(("reader", "sign"), [(read_swuggy, "_"), (read_sblimp, "+")])
@pytest.mark.parametrize("first", [0, 1])
def test_neighbouring_numbers_are_pairs_in_each_voice(
    tmp_path: Path, noise: Callable[[Path], Path], reader: Callable[..., Any], sign: str, first: int
) -> None:
    for voice in ("ann", "bob"):
        for number in range(first, first + 12):
            noise(tmp_path / voice / f"{number}{sign}{'ok' if (number - first) % 2 == 0 else 'bad'}.wav")
    (tmp_path / "ann" / f"{first + 4}{sign}ok.wav").unlink()
    noise(tmp_path / "bob" / "intro.wav")
    reading = reader(tmp_path)
    assert reading.layout == "numbers" and len(reading.items) == 11
    assert all("ok" in path_of(item) and "bad" in path_of(item, wrong=True) for item in reading.items)
    [skipped] = reading.skipped
    assert skipped.id == f"ann/{first + 4}" and f"lacks the file of number {first + 4}" in skipped.reason
    assert "bob/intro.wav" in reading.notes[-1]
    check_unique(reading.items, tmp_path)


def test_numbers_that_may_be_either_are_refused(tmp_path: Path, noise: Callable[[Path], Path]) -> None:
    for number in (1, 2, 3):
        noise(tmp_path / f"{number}_a.wav")
    with pytest.raises(ValueError, match="go from 1 to 3: the first or the last file is missing"):
        read_swuggy(tmp_path)
    noise(tmp_path / "2_b.wav")
    with pytest.raises(ValueError, match="numbers must be unique"):
        read_swuggy(tmp_path)
    with pytest.raises(ValueError, match="mode must be speech, since only gold.csv has texts"):
        read_swuggy(tmp_path, mode="text")


def test_parquet_of_the_hub(tmp_path: Path, write_parquet: Write) -> None:
    rows = [{"positive": True, "negative": True}] * 7 + [{"positive": True, "negative": None}]
    write_parquet(tmp_path / "hub" / "data" / "train-00000.parquet", rows)
    with pytest.raises(ValueError, match="cache must be a folder to write audio to"):
        read_swuggy(tmp_path / "hub")
    reading = read_swuggy(tmp_path / "hub", cache=tmp_path / "cache")
    assert reading.layout == "hub" and len(reading.items) == 7
    assert path_of(reading.items[3], wrong=True) == "3_negative.wav"
    assert "row 7 of" in reading.skipped[0].reason and "no audio in negative" in reading.skipped[0].reason
    assert "not told in this layout" in reading.notes[0]
