"""The game's archive: clips are named after the lines, and dropped where they do not say them."""

import io
import struct
from pathlib import Path

import pytest
import soundfile

from spiritlm_pl.alignment.pocketsphinx import PocketsphinxAligner
from spiritlm_pl.alignment.run import align_corpus
from spiritlm_pl.corpora.debian import PackageError
from spiritlm_pl.corpora.manifest import SPLITS, load_cuts, read_info
from spiritlm_pl.corpora.sources.amazon_queen import (
    ARCHIVE,
    Line,
    dialogue_lines,
    lines_of,
    prepare_amazon_queen,
    read_archive,
    script,
)
from spiritlm_pl.corpora.synthetic.espeak import Voice, speaker

MINE = {6: "At least the plane is mine.*15", 7: "*FLGive me the lamp.*02I will carry it home.*05*03"}
THEIRS = {6: "You are asking for trouble.*02Leave this town.", 7: "*01Never!"}


def records(lines: dict[int, str]) -> bytes:
    data = b"\0\0"  # as between records, where it is no record
    for number, text in lines.items():
        data += struct.pack(">HB", number, len(text)) + text.encode()
        data += b"\0" * (len(data) % 2)
    return data


def dialogue(key: int) -> bytes:
    mine, theirs = records(MINE), records(THEIRS)
    header = [0] * 15
    header[2], header[11] = key, 30 + len(mine)
    header[12] = header[11] + len(theirs)
    return b"AmBk" + bytes(16) + struct.pack(">15H", *header) + mine + theirs + b"c75b.CUT"


def mp3(text: str) -> bytes:
    speech = speaker().speak(text, Voice("en-us", 150))
    buffer = io.BytesIO()
    soundfile.write(buffer, speech.samples[::2], speech.sample_rate // 2, format="MP3")
    return buffer.getvalue()


def archive(files: dict[str, bytes]) -> bytes:
    table, body = b"", b""
    start = 15 + 21 * len(files)
    for name, data in files.items():
        table += struct.pack(">12sBII", name.encode(), 1, start + len(body), len(data))
        body += data
    return b"QTBLCEM10".ljust(13, b"\0") + struct.pack(">H", len(files)) + table + body


def test_lines_and_the_names_of_their_clips() -> None:
    lines = {line.clip: (line.text, line.speaker) for line in dialogue_lines("FAYE2.DOG", dialogue(18))}
    assert lines == {
        "180006J1.SB": ("At least the plane is mine.", "joe"),
        "180007J2.SB": ("Give me the lamp.", "joe"),
        "180007J3.SB": ("I will carry it home.", "joe"),
        "180006P1.SB": ("You are asking for trouble.", "faye"),
        "180006P2.SB": ("Leave this town.", "faye"),
        "180007P2.SB": ("Never!", "faye"),
    }


def test_an_archive_that_is_none_or_cut_short() -> None:
    data = archive({"A.SB": b"12345"})
    assert read_archive(data) == {"A.SB": b"12345"}
    with pytest.raises(PackageError, match="ends before A.SB"):
        read_archive(data[:-1])
    with pytest.raises(PackageError, match="must begin with QTBL"):
        read_archive(b"PK" + data)


def align(folder: str) -> None:
    align_corpus(folder, PocketsphinxAligner(phones=True), num_jobs=1)


@pytest.mark.slow
def test_clips_become_a_corpus(tmp_path: Path) -> None:
    files = {"FAYE2.DOG": dialogue(18)}
    said = {line.clip: line.text for line in dialogue_lines("FAYE2.DOG", files["FAYE2.DOG"])}
    said["180006P1.SB"] = "one two"  # not what is written
    del said["180007P2.SB"]
    files |= {clip: mp3(text) for clip, text in said.items()}
    assert [line.clip for line in script(files)] == sorted(said)
    (tmp_path / "game").mkdir()
    (tmp_path / "game" / ARCHIVE).write_bytes(archive(files))
    (tmp_path / "game" / "copyright").write_text("give it away")
    with pytest.raises(ValueError, match="must have SHA-256"):
        prepare_amazon_queen(tmp_path / "out", source=tmp_path / "game", align=align)
    info = prepare_amazon_queen(tmp_path / "out", source=tmp_path / "game", any_version=True, num_jobs=1, align=align)
    assert info == read_info(tmp_path / "out") and info["skipped"] == 1 and info["aligned"] == 4
    cuts = {cut.id: cut for split in SPLITS for cut in load_cuts(tmp_path / "out", split)}
    assert sorted(cuts) == ["queen-180006J1", "queen-180006P2", "queen-180007J2", "queen-180007J3"]
    assert cuts["queen-180006P2"].supervisions[0].speaker == "faye"
    assert "180006P1" in (tmp_path / "out" / "skipped.jsonl").read_text()
    assert (tmp_path / "out" / "LICENCE.txt").read_text() == "give it away"
    with pytest.raises(PackageError, match="source must be a folder with flight-of-the-amazon-queen"):
        prepare_amazon_queen(tmp_path / "out2", source=tmp_path / "nothing", align=align)


def test_lines_of_some_characters() -> None:
    lines = [Line("a", "hello", "joe", "X"), Line("b", "hi", "bob", "X")]
    assert lines_of(lines, None) == lines and lines_of(lines, ["bob"]) == lines[1:]
    with pytest.raises(ValueError, match="characters must be among bob, joe, but one is 'eve' instead"):
        lines_of(lines, ["eve"])
