"""Audio that a corpus does not use any more is removed, and what is not its own stays."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from spiritlm_pl.cli.prepare.general import folder
from spiritlm_pl.cli.prepare.published import emov_db
from spiritlm_pl.cli.prepare.synthetic import stories, text
from spiritlm_pl.conversations import prepare
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.manifest import INFO_FILE, SPLITS, load_cuts, read_info
from spiritlm_pl.corpora.replacing import AUDIO_LIST
from spiritlm_pl.corpora.synthetic import spoken

from .recorded import ANSWER, NOISE, audio_of, chat, emov, recordings, texts


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
    seen: list[prepare._Gathered] = []
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
