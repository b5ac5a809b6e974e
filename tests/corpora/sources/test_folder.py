from pathlib import Path

import pytest
import torch

from spiritlm_pl.cli.batch.items import file_name
from spiritlm_pl.cli.prepare.general import folder as prepare_folder
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.files import plain_name
from spiritlm_pl.corpora.layout import SKIPPED_FILE
from spiritlm_pl.corpora.sources.folder import read_folder


def texts(folder: Path) -> dict[str, str | None]:
    return {utterance.id: utterance.text for utterance in read_folder(folder)[0]}


def test_upper_case_names_and_ranges_of_samples(tmp_path: Path) -> None:
    for name, text in {"A": "0 46797 She had your suit.\n", "B": "0 12 monkeys", "C": "1984 was a book"}.items():
        (tmp_path / f"{name}.WAV").touch()
        (tmp_path / f"{name}.TXT").write_text(text)
    assert texts(tmp_path) == {"A": "She had your suit.\n", "B": "0 12 monkeys", "C": "1984 was a book"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_encodings_of_transcripts(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.txt").write_text("déjà vu", encoding=encoding)
    assert texts(tmp_path) == {"a": "déjà vu"}


def test_transcripts_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    for name, content in {"a": b"caf\xe9", "b": b"the \0cat sat on the mat", "c": b"fine"}.items():
        (tmp_path / f"{name}.wav").touch()
        (tmp_path / f"{name}.lab").write_bytes(content)
    utterances, skipped = read_folder(tmp_path)
    assert [utterance.id for utterance in utterances] == ["c"]
    assert [row.reason for row in skipped] == [
        f"transcript cannot be read: {tmp_path / 'a.lab'} is not UTF-8 or UTF-16 (byte 0xe9 in line 1)",
        f"transcript cannot be read: {tmp_path / 'b.lab'} holds NUL characters",
    ]


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    for place, name in ((corpus / "ann", "a"), (store, "b")):
        place.mkdir(parents=True)
        (place / f"{name}.wav").touch()
        (place / f"{name}.txt").write_text(name)
    (corpus / "bob").symlink_to(store)
    (corpus / "ann" / "up").symlink_to(corpus)  # a cycle
    (corpus / "again").symlink_to(corpus / "ann")
    utterances, _ = read_folder(corpus, speaker_level=0)
    assert {utterance.id: utterance.speaker for utterance in utterances} == {"ann-a": "ann", "bob-b": "bob"}


def test_audio_of_other_corpora_in_the_folder_is_not_taken_for_recordings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of two corpora in a folder of recordings holds what lies there, and nothing of the other one."""
    for name in ("a", "b"):
        save_wav(tmp_path / "said" / f"{name}.wav", 0.1 * torch.ones(22_050), 22_050)  # which is converted
        (tmp_path / "said" / f"{name}.txt").write_text(f"the word {name}")
    for out in ("one", "two", "one", "two"):
        prepare_folder(str(tmp_path / "said"), str(tmp_path / "said" / out), num_jobs=1)
        assert not (tmp_path / "said" / out / SKIPPED_FILE).read_text()
        assert sorted(path.name for path in (tmp_path / "said" / out / "audio").iterdir()) == ["a.wav", "b.wav"]
    said = tmp_path / "said"
    told = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    left_out = f"{said}: audio of corpora that `spiritlm prepare` has written is left out: 2 in {said}/"
    assert told == [left_out + other for other in ("one", "two", "one")]  # each of the other one, none of its own
    with pytest.raises(
        FileNotFoundError, match="audio must be .* holds no other file, beside those that `spiritlm pre"
    ):
        (tmp_path / "all").mkdir()
        (tmp_path / "said" / "one").rename(tmp_path / "all" / "one")
        read_folder(tmp_path / "all")


def test_a_folder_that_is_a_corpus_itself_is_read_without_what_was_written_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its recordings are those of any other corpus that is made of it, within or beside it."""
    said = tmp_path / "said"
    save_wav(said / "a.wav", 0.1 * torch.ones(22_050), 22_050)  # which is converted
    (said / "a.txt").write_text("the word a")
    for out in (said, said, tmp_path / "beside", said / "within", said):
        prepare_folder(str(said), str(out), num_jobs=1)
        assert not (out / SKIPPED_FILE).read_text() and (out / "audio" / "a.wav").is_file()
    told = [line.rpartition(": ")[2] for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert told == [f"1 in {said}", f"1 in {said}", f"1 in {said}/within"]


def test_a_speaker_level_that_a_file_does_not_have(tmp_path: Path) -> None:
    for place in ("ann/one", "bob"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "a.wav").touch()
        (tmp_path / place / "a.txt").write_text("hello")
    utterances, skipped = read_folder(tmp_path, speaker_level=1)
    assert [(u.id, u.speaker) for u in utterances] == [("ann-one-a", "one")]
    assert [(row.id, row.reason) for row in skipped] == [
        ("bob-a", "speaker_level must be below the number of folders above the file, 1, but is 1 instead")
    ]
    with pytest.raises(ValueError, match="speaker_level must be at least 0, but is -1"):
        read_folder(tmp_path, speaker_level=-1)


def test_speakers_of_a_table_are_in_its_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="speaker_level must be given without a table"):
        prepare_folder(str(tmp_path), str(tmp_path / "out"), table="t.csv", speaker_level=0)


def test_the_transcript_of_several_suffixes(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.opus"):
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_text("plain")
    (tmp_path / "a.normalized.txt").write_text("normalised")
    (tmp_path / "b.normalized.txt").write_text("normalised")
    (tmp_path / "d.txt").write_text("nobody spoke")
    assert texts(tmp_path) == {"a": "plain", "b": "normalised", "c": None, "d": "nobody spoke"}


def test_a_format_that_is_not_looked_for_is_named(tmp_path: Path) -> None:
    for name in ("a.wav", "a.json", "b.dts"):
        (tmp_path / name).touch()
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text("hello")
    utterances, (row,) = read_folder(tmp_path)
    assert [u.path.name for u in utterances] == ["a.wav", "c.wav"]
    assert (row.id, row.path) == ("b", str(tmp_path / "b.dts"))
    assert row.reason == (
        "audio file is missing, or b.dts is of a format that is not looked for: convert it, or use a table"
    )


def test_names_of_files_keep_the_marks_of_their_letters() -> None:
    assert plain_name("कि/का: a.b-c_1") == "कि_का_a.b-c_1"
    assert file_name("कि/का").startswith("कि-का-")  # a line's audio, of `generate --jsonl` and `vocode`


def test_long_ids_name_files_that_file_systems_take() -> None:
    names = [file_name("कि" * 100 + end) for end in ("", "क", "/")]
    assert all(len(name.encode()) <= 200 for name in names) and len(set(names)) == 3


def test_ids_differ_whatever_files_are_called(tmp_path: Path) -> None:
    for name in ("a-2.wav", "a.flac", "a.wav", "x-y-2.wav", "x-y.wav", "x/y.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = {utterance.path.relative_to(tmp_path).as_posix(): utterance.id for utterance in read_folder(tmp_path)[0]}
    assert found == {
        "a-2.wav": "a-2",
        "a.flac": "a",
        "a.wav": "a-3",
        "x-y-2.wav": "x-y-2",
        "x-y.wav": "x-y-3",
        "x/y.wav": "x-y",
    }
