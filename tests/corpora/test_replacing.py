"""A corpus is replaced by one of the same settings, or on request."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spiritlm_pl.cli.main import guarded, run
from spiritlm_pl.cli.prepare.general import folder, lhotse_manifest, lhotse_recipe
from spiritlm_pl.cli.prepare.published import emov_db, expresso
from spiritlm_pl.cli.prepare.synthetic import stories, styles, text
from spiritlm_pl.corpora.manifest import INFO_FILE, read_info, save_corpus
from spiritlm_pl.corpora.replacing import check_same_settings
from spiritlm_pl.corpora.sources.amazon_queen import prepare_amazon_queen
from spiritlm_pl.corpora.sources.prompts import prepare_prompts

from .recorded import audio_of, chat, emov, recordings, rows, texts

Command = Callable[..., None]


def spoken_text(place: Path) -> Path:
    return texts(place / "in.txt")


def a_folder(place: Path) -> Path:
    return recordings(place / "in")


def a_chat(place: Path) -> Path:
    return rows(recordings(place / "in") / "chat.jsonl")


KINDS: dict[str, tuple[Command, Callable[[Path], Path] | None, dict[str, Any], str]] = {
    "text": (text, spoken_text, {"speed": 300}, "speed 175 instead of 300"),
    "voices": (text, spoken_text, {"voices": ("en-gb",)}, "voices en-us, .* instead of en-gb"),
    "stories": (stories, None, {"count": 3}, "count 4 instead of 3"),
    "styles": (styles, None, {"seed": 3}, "seed 0 instead of 3"),
    "folder": (folder, a_folder, {"min_duration": 0.8}, "min duration 0.2 instead of 0.8"),
    "language": (folder, a_folder, {"language": "pl"}, "language en instead of pl"),
    "emov_db": (emov_db, emov, {"seed": 1}, "seed 0 instead of 1"),
    "conversations": (chat, a_chat, {"max_duration": 50.0}, "max duration 100.0 instead of 50.0"),
}
SMALL: dict[str, dict[str, Any]] = {"stories": {"count": 4}, "styles": {"sentences": 4, "voices": ("en-us",)}}


@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_of_other_settings_is_replaced_on_request_only(kind: str, tmp_path: Path) -> None:
    command, source, other, message = KINDS[kind]
    given = [] if source is None else [str(source(tmp_path))]
    out, usual = tmp_path / "out", {"num_jobs": 1, **SMALL.get(kind, {})}
    command(*given, str(out), **usual)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=f"^out must be a new folder, .* {out} was made with {message}: .*--overwrite"):
        command(*given, str(out), **(usual | other))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    command(*given, str(out), **usual)  # the same again
    assert audio_of(out) == {path for path in before if path.suffix == ".wav"}
    command(*given, str(out), **(usual | other), overwrite=True)
    assert audio_of(out)


@pytest.mark.parametrize(
    "command",
    [
        lambda missing, out: folder(missing, out),
        lambda missing, out: lhotse_recipe("mls", missing, out),
        lambda missing, out: lhotse_manifest(missing, out),
        lambda missing, out: emov_db(missing, out),
        lambda missing, out: expresso(missing, out),
        lambda missing, out: prepare_prompts(out, source=missing),
        lambda missing, out: prepare_amazon_queen(out, source=missing, align=print),
    ],
    ids=["folder", "lhotse_recipe", "lhotse_manifest", "emov_db", "expresso", "prompts", "amazon_queen"],
)
def test_a_corpus_is_refused_before_its_source_is_read(command: Callable[[str, str], None], tmp_path: Path) -> None:
    """Reading it may take hours, or fetch packages; here it is missing."""
    save_corpus(tmp_path / "out", {}, name="out", source="elsewhere", licence="")
    with pytest.raises(ValueError, match=r"was made with source elsewhere instead of .*--overwrite"):
        command(str(tmp_path / "missing"), str(tmp_path / "out"))


def test_another_kind_of_corpus_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    text(str(texts(tmp_path / "in.txt")), str(out), num_jobs=1, utterances=3)
    words = ["prepare", "stories", str(out), "--count", "3"]
    assert guarded(lambda: run(words)) == 2
    told = capsys.readouterr().err
    assert f"OUT must be a new folder, or one that was made with the same settings, but {out} was made" in told
    assert "with source eSpeak NG reading in.txt instead of eSpeak NG reading the built-in" in told
    assert guarded(lambda: run([*words, "--overwrite", "--num-jobs", "1"])) == 0
    assert len(audio_of(out)) == 3 and not (out / "audio" / "train").exists()


def test_a_file_may_be_typed_in_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = texts(tmp_path / "in.txt"), str(tmp_path / "out")
    text(str(file), out, num_jobs=1)
    monkeypatch.chdir(tmp_path)
    text("./in.txt", out, num_jobs=1)


def test_a_file_of_the_same_name_in_another_folder_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        texts(tmp_path / name / "in.txt")
    monkeypatch.chdir(tmp_path / "first")
    text("in.txt", str(out), num_jobs=1)
    monkeypatch.chdir(tmp_path / "second")
    with pytest.raises(ValueError, match=f"file {tmp_path}/first/in.txt instead of {tmp_path}/second/in.txt"):
        text("in.txt", str(out), num_jobs=1)


def test_the_audio_of_a_table_is_told_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, out = tmp_path / "table.csv", tmp_path / "out"
    table.write_text("path,text\na.wav,here is a\nb.wav,here is b\n")
    for name in ("first", "second"):
        recordings(tmp_path / name / "in")
    monkeypatch.chdir(tmp_path / "first")
    folder("in", str(out), table=str(table), num_jobs=1)
    folder("./in", str(out), table=str(table), num_jobs=1)
    monkeypatch.chdir(tmp_path / "second")
    with pytest.raises(ValueError, match=f"audio {tmp_path}/first/in instead of {tmp_path}/second/in"):
        folder("in", str(out), table=str(table), num_jobs=1)


def test_the_root_of_conversations_is_told_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, file = tmp_path / "out", rows(tmp_path / "chat.jsonl")
    for name in ("first", "second"):
        recordings(tmp_path / name / "in")
    monkeypatch.chdir(tmp_path / "first")
    chat(str(file), str(out), audio_root="in", num_jobs=1)
    monkeypatch.chdir(tmp_path / "second")
    with pytest.raises(ValueError, match=f"audio root {tmp_path}/first/in instead of {tmp_path}/second/in"):
        chat(str(file), str(out), audio_root="in", num_jobs=1)


def test_only_paths_are_compared_as_paths(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="was made with language en instead of ./en"):
        check_same_settings(tmp_path, {"language": "en"}, {"language": "./en"})
    check_same_settings(tmp_path, {"file": "in.txt"}, {"file": str(Path("in.txt").resolve())})


def test_settings_that_an_earlier_version_did_not_record_may_be_any(tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder(str(recordings(tmp_path / "in")), str(out), num_jobs=1)
    info = read_info(out)
    assert info is not None
    info["arguments"] = {name: info["arguments"][name] for name in ("seed", "validation_fraction", "test_fraction")}
    (out / INFO_FILE).write_text(json.dumps(info))
    folder(str(tmp_path / "in"), str(out), num_jobs=1, min_duration=0.8)
    assert len(audio_of(out)) == 3


def test_recordings_of_another_folder_are_another_corpus(tmp_path: Path) -> None:
    first, second, out = recordings(tmp_path / "first"), recordings(tmp_path / "second"), tmp_path / "out"
    folder(str(first), str(out), num_jobs=1)
    with pytest.raises(ValueError, match=f"was made with source {first} instead of {second}"):
        folder(str(second), str(out), num_jobs=1)


def test_a_file_is_no_corpus(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="OUT must be a folder, but .*out is a file"):
        run(["prepare", "stories", str(tmp_path / "out"), "--count", "20"])
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"
    with pytest.raises(ValueError, match="^OUT must be a folder, but .*out is a file$"):
        run(["prepare", "folder", str(recordings(tmp_path / "in")), str(tmp_path / "out" / "corpus" / "en")])
