import gzip
import json
from pathlib import Path

import pytest
import soundfile
import torch
from lhotse import CutSet

from spiritlm_pl.cli.prepare.general import folder, lhotse_manifest, lhotse_recipe
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.debian import PackageError, fetch_packages, read_package
from spiritlm_pl.corpora.manifest import (
    SPLITS,
    Word,
    cuts_path,
    load_cuts,
    make_cut,
    read_info,
    style_of,
    word_alignment,
    write_cuts,
)
from spiritlm_pl.corpora.sources.prompts import PACKAGES, SOUNDS, prepare_prompts

from .conftest import write_package

TONE = 0.5 * torch.sin(torch.arange(16_000) * 0.1)


def _flac(path: Path, seconds: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, TONE.repeat(seconds).numpy(), 16_000)


def _texts(corpus: Path, split: str) -> list[str]:
    return sorted(str(cut.supervisions[0].text) for cut in load_cuts(corpus, split))


def test_prompts_from_packages(tmp_path: Path) -> None:
    source = tmp_path / "debs"
    source.mkdir()
    noise = torch.randint(0, 256, (16_000,), dtype=torch.uint8).numpy().tobytes()  # any bytes are G.722
    lines = "; comment\na: Press # now.\ndigits/1: one\nbeep: [a beep]\nsilence/1: 1 second\n"
    write_package(
        source / f"{PACKAGES[0]}_1_all.deb",
        {f"{SOUNDS}{n}.g722": noise for n in ("a", "digits/1", "beep", "silence/1")} | {"doc/copyright": b"CC"},
    )
    write_package(source / f"{PACKAGES[1]}_1_all.deb", {"doc/core-sounds-en.txt.gz": gzip.compress(lines.encode())})
    with pytest.raises(ValueError, match="SHA-256"):
        prepare_prompts(tmp_path / "out", source=source)
    info = prepare_prompts(tmp_path / "out", source=source, any_version=True, num_jobs=1)
    assert sum(info["utterances"].values()) == 2 and info["skipped"] == 1
    assert (tmp_path / "out" / "LICENCE.txt").read_text() == "CC"
    assert "press pound now" in [text for split in SPLITS for text in _texts(tmp_path / "out", split)]
    damaged = source / f"{PACKAGES[0]}_1_all.deb"
    damaged.write_bytes(damaged.read_bytes()[:5_000])
    with pytest.raises(PackageError, match="damaged"):
        read_package(damaged)
    with pytest.raises(PackageError, match="source must be"):
        prepare_prompts(tmp_path / "out", source=tmp_path)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".zst"])
def test_packages_are_read_whole_or_not_at_all(suffix: str, tmp_path: Path) -> None:
    files = {"a/one": bytes(range(256)) * 4, "a/two": b"2" * 700}
    path = tmp_path / "p_1_all.deb"
    write_package(path, files, suffix)
    assert read_package(path) == files
    whole = path.read_bytes()
    for end in range(9, len(whole) - 1, 1 + len(whole) // 60):
        path.write_bytes(whole[:end])
        with pytest.raises(PackageError, match="package must be intact|package must hold data.tar, but"):
            read_package(path)
    if suffix not in ("", ".zst"):  # these have no checksum of what they hold
        for place in range(200, len(whole) - 2, 3):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            try:
                assert read_package(path) == files
            except PackageError:
                continue


def test_a_compression_that_is_not_known_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p_1_all.deb"
    write_package(path, {"a": b"1"}, ".lz4")
    with pytest.raises(
        PackageError, match=r"must hold data.tar with one of .*\.zst, but .* holds data.tar.lz4 instead"
    ):
        read_package(path)
    path.write_bytes(b"!<arch>\n" + f"{'debian-binary':<16}{0:<12}{0:<6}{0:<6}{644:<8}{4:<10}`\n2.0\n".encode())
    with pytest.raises(PackageError, match="package must hold data.tar"):
        read_package(path)


def test_without_apt_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match="--source"):
        fetch_packages(PACKAGES, tmp_path)


def test_folder_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio = tmp_path / "audio"
    for index in range(4):
        save_wav(audio / f"ann/{index}.wav", TONE)
        (audio / f"ann/{index}.txt").write_text(f"Number {index}")
    save_wav(audio / "bob/untold.wav", TONE)
    (audio / "bob/unheard.txt").write_text("Nobody recorded this")
    save_wav(audio / "bob/latin.wav", TONE)
    (audio / "bob/latin.txt").write_bytes("caf\N{LATIN SMALL LETTER E WITH ACUTE} au lait".encode("latin-1"))
    folder(str(audio), str(tmp_path / "out"), speaker_level=0, validation_fraction=0.0, num_jobs=1)
    said = capsys.readouterr()
    assert "3 skipped" in said.out and "warning: no utterance for validation" in said.err
    rows = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert {row["id"]: row["reason"] for row in rows} == {
        "bob-unheard": "audio file is missing",
        "bob-latin": f"transcript cannot be read: {audio}/bob/latin.txt is not UTF-8 or UTF-16 (byte 0xe9 in line 1)",
        "bob-untold": "there is no transcript beside it",
    }
    cuts = [cut for split in SPLITS for cut in load_cuts(tmp_path / "out", split)]
    assert len(cuts) == 4 and {cut.supervisions[0].speaker for cut in cuts} == {"ann"}
    table = tmp_path / "table.tsv"
    table.write_text('path\tsentence\tclient_id\nann/0.wav\t"A quote\ty\nann/9.wav\tgone\ty\n')
    folder(str(audio), str(tmp_path / "out2"), table=str(table), spoken_text=False, num_jobs=1)
    assert _texts(tmp_path / "out2", "train") == ['"A quote']
    table.write_text("path\tsentence\temotion\nann/0.wav\tone\tsad \nann/1.wav\ttwo\t\n")
    folder(str(audio), str(tmp_path / "styled"), table=str(table), num_jobs=1)
    cuts = [cut for split in SPLITS for cut in load_cuts(tmp_path / "styled", split)]
    assert {cut.supervisions[0].text: style_of(cut) for cut in cuts} == {"one": "sad", "two": ""}
    assert not any(cut.supervisions[0].speaker for cut in cuts)  # nobody knows that it is the same one
    (audio / "empty.wav").touch()
    table.write_text("path\tsentence\nempty.wav\tnothing usable\n")
    before = read_info(tmp_path / "out2")
    with pytest.raises(ValueError, match="all 1 were skipped"):
        folder(str(audio), str(tmp_path / "out2"), table=str(table), spoken_text=False)
    assert read_info(tmp_path / "out2") == before
    table.write_text("a\tb\n")
    with pytest.raises(ValueError, match="column of path"):
        folder(str(audio), str(tmp_path / "out3"), table=str(table))


def test_numbers_of_other_languages_are_not_read_in_english(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio = tmp_path / "audio"
    for name, words in {"a": "Mam psy, koty!", "b": "Mam 42 psy", "c": "psy & koty"}.items():
        save_wav(audio / f"{name}.wav", TONE)
        (audio / f"{name}.txt").write_text(words)
    folder(str(audio), str(tmp_path / "out"), language="pl", licence="CC0-1.0", num_jobs=1)
    out = capsys.readouterr().out
    assert "2 skipped" in out and "licence: CC0-1.0" in out
    assert [text for split in SPLITS for text in _texts(tmp_path / "out", split)] == ["mam psy koty"]
    skipped = (tmp_path / "out" / "skipped.jsonl").read_text()
    assert "must have one reading, but has '42' instead: write it in words" in skipped
    folder(str(audio), str(tmp_path / "written"), language="pl", spoken_text=False, num_jobs=1)
    assert "Mam 42 psy" in [text for split in SPLITS for text in _texts(tmp_path / "written", split)]


def test_librispeech_layout_keeps_its_parts(tmp_path: Path) -> None:
    root = tmp_path / "LibriSpeech"
    for part, text in (("train-clean-5", "ONE TWO"), ("train-clean-5", "SHARED"), ("dev-clean-2", "SHARED")):
        number = len(list(root.rglob("*.flac")))
        _flac(root / part / "19" / f"{number}" / f"19-{number}-0000.flac")
        (root / part / "19" / f"{number}" / f"19-{number}.trans.txt").write_text(f"19-{number}-0000 {text}\n")
    lhotse_recipe(
        "librispeech",
        str(root),
        str(tmp_path / "out"),
        num_jobs=1,
        options={"dataset_parts": ["train-clean-5", "dev-clean-2"]},
    )
    assert _texts(tmp_path / "out", "train") == ["one two"]
    assert _texts(tmp_path / "out", "validation") == ["shared"]
    info = read_info(tmp_path / "out")
    assert info is not None and info["skipped"] == 1  # the sentence of train that is in validation, too


def test_mls_layout(tmp_path: Path) -> None:
    root = tmp_path / "mls" / "mls_english"
    for index, part in enumerate(("train", "dev", "test")):
        _flac(root / part / "audio" / "7" / "8" / f"7_8_{index:06d}.flac")
        (root / part / "transcripts.txt").write_text(f"7_8_{index:06d}\tsentence of {part}\n")
    (root / "metainfo.txt").write_text(
        "SPEAKER | GENDER | PARTITION | MINUTES | BOOK ID | TITLE | CHAPTER\n"
        + "".join(f"7 | F | {part} | 1.0 | 8 | t | c\n" for part in ("train", "dev", "test"))
    )
    lhotse_recipe("mls", str(tmp_path / "mls"), str(tmp_path / "out"), options={"opus": False}, num_jobs=1)
    assert [_texts(tmp_path / "out", split) for split in SPLITS] == [
        ["sentence of train"],
        ["sentence of dev"],
        ["sentence of test"],
    ]


def test_voxpopuli_layout_cuts_segments_out_of_sessions(tmp_path: Path) -> None:
    audio = tmp_path / "voxpopuli" / "raw_audios" / "pl" / "2019" / "session_pl.ogg"
    audio.parent.mkdir(parents=True)
    soundfile.write(audio, TONE.repeat(4).numpy(), 16_000)
    rows = ["session_id|speaker_id|gender|split|start_time|end_time|original_text|normed_text"]
    for index, part in enumerate(("train", "dev", "test", "invalid")):
        rows.append(f"session|7|female|{part}|{index}.0|{index}.5|Zdanie.|zdanie {part}")
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    with gzip.open(annotations / "asr_pl.tsv.gz", "wt") as file:
        file.write("\n".join(rows) + "\n")
    options = {"lang": "pl", "output_dir": str(annotations)}
    lhotse_recipe("voxpopuli", str(tmp_path / "voxpopuli"), str(tmp_path / "out"), options=options, num_jobs=1)
    assert [_texts(tmp_path / "out", split) for split in SPLITS] == [["zdanie train"], ["zdanie dev"], ["zdanie test"]]
    assert next(iter(load_cuts(tmp_path / "out", "test"))).duration == pytest.approx(0.5)


def test_manifest_keeps_word_times_and_cuts_out_of_long_files(tmp_path: Path) -> None:
    _flac(tmp_path / "long.flac", 3)
    cut = make_cut(
        "long",
        tmp_path / "long.flac",
        sample_rate=16_000,
        num_samples=48_000,
        text="hi there",
        speaker="me",
        words=[Word("hi", 0.25, 0.5), Word("there", 0.5, 0.75)],
    )
    part = cut.truncate(offset=0.0, duration=1.0, preserve_id=True)
    write_cuts(tmp_path, "train", [part])
    CutSet.from_cuts([part]).to_file(tmp_path / "cuts.jsonl.gz")
    assert cuts_path(tmp_path, "train").is_file()
    lhotse_manifest(str(tmp_path / "cuts.jsonl.gz"), str(tmp_path / "out"), num_jobs=1)
    (made,) = load_cuts(tmp_path / "out", "train")
    assert made.duration == 1.0 and [w.text for w in word_alignment(made)] == ["hi", "there"]
