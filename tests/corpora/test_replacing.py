"""A corpus is replaced by one of the same settings, or on request, and audio that it does not use is removed."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from spiritlm_pl.cli.main import guarded, run
from spiritlm_pl.cli.prepare.conversations import conversations
from spiritlm_pl.cli.prepare.general import folder, lhotse_manifest, lhotse_recipe
from spiritlm_pl.cli.prepare.published import emov_db, expresso
from spiritlm_pl.cli.prepare.synthetic import stories, styles, text
from spiritlm_pl.conversations import prepare
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.manifest import INFO_FILE, SPLITS, load_cuts, read_info, save_corpus
from spiritlm_pl.corpora.replacing import AUDIO_LIST, check_same_settings
from spiritlm_pl.corpora.sources.amazon_queen import prepare_amazon_queen
from spiritlm_pl.corpora.sources.prompts import prepare_prompts
from spiritlm_pl.corpora.synthetic import spoken

NOISE = 0.1 * torch.randn(22_050, generator=torch.Generator().manual_seed(0))


def audio_of(corpus: Path) -> set[Path]:
    """Audio files in a corpus folder, in which each must belong to a cut."""
    found = {path for path in corpus.rglob("*.wav")}
    used = {Path(cut.recording.sources[0].source) for split in SPLITS for cut in load_cuts(corpus, split)}
    assert found == {path for path in used if path.is_relative_to(corpus)}
    return found


def texts(path: Path) -> Path:
    path.write_text(" ".join(f"Here is a {one}." for one in ("cat", "dog", "pig", "cow")), encoding="utf-8")
    return path


def recordings(place: Path, sample_rate: int = 22_050) -> Path:
    """Four recordings with transcripts, of which one is short; stored at 16 kHz they are converted."""
    for name, length in (("a", 1.0), ("b", 1.0), ("c", 1.0), ("short", 0.5)):
        save_wav(place / f"{name}.wav", NOISE[: round(22_050 * length)], sample_rate)
        (place / f"{name}.txt").write_text(f"here is {name}")
    return place


def rows(path: Path) -> Path:
    shown = [{"messages": [{"role": "user", "content": [{"type": "audio", "audio": "a.wav"}]}, ANSWER]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in shown))
    return path


def interrupt() -> None:
    raise KeyboardInterrupt


def emov(place: Path) -> Path:
    """Three recordings of EmoV-DB, with their sentences."""
    for number in range(1, 4):
        save_wav(place / "bea_Amused" / f"amused_1-28_{number:04d}.wav", NOISE, 22_050)
    (place / "cmuarctic.data").write_text("".join(f'( arctic_a{n:04d} "Here is {n}." )\n' for n in range(1, 4)))
    return place


ANSWER = {"role": "assistant", "content": "yes"}
Command = Callable[..., None]


def spoken_text(place: Path) -> Path:
    return texts(place / "in.txt")


def a_folder(place: Path) -> Path:
    return recordings(place / "in")


def a_chat(place: Path) -> Path:
    return rows(recordings(place / "in") / "chat.jsonl")


def chat(file: str, out: str, **options: Any) -> None:
    conversations([file], out, **options)


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


def test_recordings_that_are_gone_leave_nothing(tmp_path: Path) -> None:
    place, out = recordings(tmp_path / "in"), tmp_path / "out"
    folder(str(place), str(out), num_jobs=1)
    assert len(audio_of(out)) == 4
    (place / "b.wav").unlink()
    folder(str(place), str(out), num_jobs=1)
    assert {path.stem for path in audio_of(out)} == {"a", "c", "short"}


def test_what_an_interrupted_run_has_spoken_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = texts(tmp_path / "in.txt"), tmp_path / "out"
    said = []

    def speak(line: spoken.Line) -> Any:
        said.append(line.path)
        if len(said) == 4:
            raise KeyboardInterrupt
        return spoken_line(line)

    spoken_line = spoken.speak_line
    with monkeypatch.context() as patch:
        patch.setattr(spoken, "speak_line", speak)
        with pytest.raises(KeyboardInterrupt):
            text(str(file), str(out), num_jobs=1, voices=("en-us", "en-gb"), times_said=2)
    assert len([*out.rglob("*.wav")]) == 3
    text(str(file), str(out), num_jobs=1)  # it is no corpus yet, which could be lost
    assert len(audio_of(out)) == 4


@pytest.mark.parametrize("sample_rate", [16_000, 22_050])
@pytest.mark.parametrize("place", ["out", "out/audio"])
def test_files_of_the_user_stay(place: str, sample_rate: int, tmp_path: Path) -> None:
    """Also those that lie where a corpus keeps its audio, and whose names their conversions would have."""
    own, out = recordings(tmp_path / place, sample_rate), tmp_path / "out"
    (out / "audio").mkdir(exist_ok=True)
    shutil.copy(own / "a.wav", out / "audio" / "mine.wav")
    before = {path: path.read_bytes() for path in out.rglob("*.wav")}
    for _ in range(2):
        folder(str(own), str(out), num_jobs=1)
    assert len({path for path in out.rglob("*.wav")} - before.keys()) == (0 if sample_rate == 16_000 else 4)
    folder(str(own), str(out), num_jobs=1, min_duration=0.8, overwrite=True)
    stories(str(out), count=2, num_jobs=1, overwrite=True)
    assert {path: path.read_bytes() for path in before} == before
    stories(str(out), count=3, num_jobs=1, overwrite=True)
    assert {path for path in out.rglob("*.wav")} - before.keys() == {*(out / "audio").glob("story-*.wav")}


@pytest.mark.parametrize("source", ["", "recordings"])
@pytest.mark.parametrize("kind", ["folder", "emov_db"])
def test_a_corpus_within_its_source_is_not_read_again(kind: str, source: str, tmp_path: Path) -> None:
    """Its audio is neither an utterance nor one that is left out, whichever of the two lies in the other."""
    own = tmp_path / source
    own.mkdir(exist_ok=True)
    emov(own) if kind == "emov_db" else recordings(own)
    for place, out in ((own, tmp_path), (tmp_path, tmp_path / "corpora" / "mine")):
        for _ in range(2):
            (folder if kind == "folder" else emov_db)(
                str(place),
                str(out),
                num_jobs=1,
                **({} if kind == "folder" else {"prompts": str(own / "cmuarctic.data")}),
            )
            info = read_info(out)
            assert info is not None
            assert (sum(info["utterances"].values()), info["skipped"]) == (4 if kind == "folder" else 3, 0)
        shutil.rmtree(out / "audio")
        (out / AUDIO_LIST).unlink()
        (out / INFO_FILE).unlink()


def test_an_unrelated_file_of_the_same_name_stays(tmp_path: Path) -> None:
    place, out = recordings(tmp_path / "in"), tmp_path / "out"
    save_wav(out / "audio" / "a.wav", NOISE, 22_050)
    before = (out / "audio" / "a.wav").read_bytes()
    for _ in range(2):
        folder(str(place), str(out), num_jobs=1)
        assert {path.stem for path in out.rglob("*.wav")} == {"a", "a%2", "b", "c", "short"}
    assert (out / "audio" / "a.wav").read_bytes() == before
    stories(str(out), count=2, num_jobs=1, overwrite=True)
    assert (out / "audio" / "a.wav").read_bytes() == before


def test_a_file_with_the_name_of_what_is_spoken_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    save_wav(out / "audio" / "story-0-000001.wav", NOISE, 22_050)
    before = (out / "audio" / "story-0-000001.wav").read_bytes()
    for _ in range(2):
        stories(str(out), count=3, num_jobs=1)
        assert (out / "audio" / "story-0-000001.wav").read_bytes() == before
        assert len([*out.rglob("*.wav")]) == 4 and (out / "audio" / "story-0-000001%2.wav").is_file()


def test_audio_of_a_corpus_without_a_list_is_its_own(tmp_path: Path) -> None:
    """An earlier version wrote none; what its manifests name is overwritten by the same again."""
    place, out = recordings(tmp_path / "in"), tmp_path / "out"
    folder(str(place), str(out), num_jobs=1)
    (out / AUDIO_LIST).unlink()
    folder(str(place), str(out), num_jobs=1)
    assert {path.stem for path in audio_of(out)} == {"a", "b", "c", "short"}


def test_audio_whose_bytes_stand_in_the_source_leaves_nothing(tmp_path: Path) -> None:
    """It is written to a file, which is needed no more where its audio is converted."""
    out = tmp_path / "out"
    for rate, place in ((22_050, "audio"), (16_000, "given"), (22_050, "audio")):
        save_wav(tmp_path / "a.wav", NOISE, rate)
        data = base64.b64encode((tmp_path / "a.wav").read_bytes()).decode()
        asked = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}]}
        (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": [asked, ANSWER]}))
        chat(str(tmp_path / "chat.jsonl"), str(out), num_jobs=1)
        assert {path.parent.name for path in audio_of(out)} == {place}


def told_chat(folder: Path, rate: int, name: str = "a") -> str:
    """A conversation whose audio stands in the row itself."""
    save_wav(folder / "a.wav", NOISE, rate)
    data = base64.b64encode((folder / "a.wav").read_bytes()).decode()
    asked = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}]}
    (folder / "chat.jsonl").write_text(json.dumps({"id": name, "messages": [asked, ANSWER]}))
    return str(folder / "chat.jsonl")


def test_a_file_with_the_name_of_audio_that_stands_in_the_source_stays(tmp_path: Path) -> None:
    source, out = told_chat(tmp_path, 16_000), tmp_path / "out"
    save_wav(out / "given" / "a-0.wav", NOISE[:4000], 22_050)
    before = (out / "given" / "a-0.wav").read_bytes()
    for _ in range(2):
        chat(source, str(out), num_jobs=1)
        assert (out / "given" / "a-0.wav").read_bytes() == before
        assert {path.name for path in out.rglob("*.wav")} == {"a-0.wav", "a-0%2.wav"}
        (cut,) = [cut for split in SPLITS for cut in load_cuts(out, split)]
        assert Path(cut.recording.sources[0].source).name == "a-0%2.wav"


@pytest.mark.parametrize("end", [KeyboardInterrupt, ValueError("source must be readable"), MemoryError])
def test_audio_of_conversations_whose_reading_ended_early_leaves_nothing(
    end: type[BaseException] | ValueError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "out"

    def ended(gathered: object) -> None:
        assert len([*out.rglob("*.wav")]) == 1
        raise end

    with monkeypatch.context() as patch:
        patch.setattr("spiritlm_pl.conversations.prepare._Gathered.name_given", ended)
        with pytest.raises(end if isinstance(end, type) else type(end)):
            chat(told_chat(tmp_path, 16_000, "a"), str(out), num_jobs=1)
    assert not out.parent.exists()
    chat(told_chat(tmp_path, 16_000, "b"), str(out), num_jobs=1)
    assert {path.name for path in audio_of(out)} == {"b-0.wav"} and not [*out.glob(".*.tmp")]


def test_hidden_folders_of_the_user_and_of_another_run_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    mine = out / ".given" / "mine.wav"
    save_wav(mine, NOISE, 16_000)
    seen = []
    name_given = prepare._Gathered.name_given

    def beside(gathered: prepare._Gathered) -> None:
        if not seen:  # another run of the same folder begins and ends, while this one has read its audio
            seen.append(gathered)
            (tmp_path / "other").mkdir()
            chat(told_chat(tmp_path / "other", 16_000, "other"), str(out), num_jobs=1, overwrite=True)
        name_given(gathered)

    monkeypatch.setattr(prepare._Gathered, "name_given", beside)
    chat(told_chat(tmp_path, 16_000), str(out), num_jobs=1, overwrite=True)
    assert seen and mine.is_file()
    mine.unlink()
    assert {path.name for path in audio_of(out)} == {"a-0.wav"}


@pytest.mark.parametrize("linked", ["out", "out/audio"])
def test_audio_may_lie_on_another_disk(linked: str, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / linked).parent.mkdir(exist_ok=True)
    (tmp_path / linked).symlink_to(tmp_path / "disk")
    out, place = tmp_path / "out", recordings(tmp_path / "in")
    stories(str(out), count=3, num_jobs=1)
    folder(str(place), str(out), num_jobs=1, overwrite=True)
    assert {path.stem for path in (tmp_path / "disk").rglob("*.wav")} == {"a", "b", "c", "short"}
    stories(str(out), count=2, num_jobs=1, overwrite=True)
    assert len([*(tmp_path / "disk").rglob("*.wav")]) == 2 and (tmp_path / linked).is_symlink()


@pytest.mark.parametrize(
    "damaged",
    ["[", "3", "[1]", "null", '{"a.wav": 1}', '["../mine.wav"]', '["/mine.wav"]', '["mine.txt"]', '["a\\u0000.wav"]'],
)
def test_a_damaged_list_of_audio_costs_nothing(damaged: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stories(str(out), count=3, num_jobs=1)
    mine = tmp_path / "mine.wav", out / "mine.txt"
    for path in mine:
        path.write_text("mine")
    (out / AUDIO_LIST).write_text(damaged.replace("/mine.wav", str(mine[0])) if damaged == '["/mine.wav"]' else damaged)
    stories(str(out), count=2, num_jobs=1, overwrite=True)
    assert all(path.read_text() == "mine" for path in mine)
    assert len([*out.rglob("*.wav")]) == 3  # whose they are is not known any more
    assert json.loads((out / AUDIO_LIST).read_text()) == ["audio/story-0-000000.wav", "audio/story-0-000001.wav"]


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
