"""One bad item costs itself alone, whatever is wrong with it."""

import json
import os
from pathlib import Path

import pytest
import torch

from spiritlm_pl.cli.prepare.general import folder
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.ingest import Rules, Utterance, ingest
from spiritlm_pl.corpora.manifest import SPLITS, load_cuts

TONE = 0.3 * torch.sin(torch.arange(16_000) * 0.1)


def say(path: Path, text: str, rate: int = 16_000) -> Path:
    save_wav(path, TONE, rate)
    path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return path


def made_of(source: Path, out: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Texts and reasons by id."""
    say(source / "fine.wav", "this is fine")
    folder(str(source), str(out), num_jobs=1)
    cuts = {cut.id: str(cut.supervisions[0].text) for split in SPLITS for cut in load_cuts(out, split)}
    rows = [json.loads(line) for line in (out / "skipped.jsonl").read_text(encoding="utf-8").split("\n") if line]
    assert cuts.pop("fine") == "this is fine"
    return cuts, {row["id"]: row["reason"] for row in rows}


@pytest.mark.parametrize("text", ["the 1" + 400 * "0" + "th", 5000 * "9" + "kg", "1/" + 5000 * "9"])
def test_numbers_of_any_size(text: str, tmp_path: Path) -> None:
    say(tmp_path / "in" / "large.wav", text)
    made, reasons = made_of(tmp_path / "in", tmp_path / "out")
    assert (made.keys() | reasons.keys()) == {"large"} and not any("Error" in text for text in made.values())
    assert all("written as words" in reason or "one reading" in reason for reason in reasons.values())


def test_ids_that_are_longer_than_names_of_files_may_be(tmp_path: Path) -> None:
    place = tmp_path / "in"
    for folder_name in ("किताब" * 8, "पढ़ती" * 8, "कहानी" * 8):
        place /= folder_name
    say(place / "a.wav", "one", rate=22_050)
    say(place / "b.wav", "two", rate=22_050)
    made, reasons = made_of(tmp_path / "in", tmp_path / "out")
    assert sorted(made.values()) == ["one", "two"] and not reasons
    assert len(list((tmp_path / "out" / "audio").iterdir())) == 2


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = say(tmp_path / "in" / "a.wav", "one")
    for old in (path, path.with_suffix(".txt")):
        os.rename(old, os.fsdecode(os.fsencode(path.parent) + b"/caf\xe9") + old.suffix)
    made, reasons = made_of(tmp_path / "in", tmp_path / "out")
    assert not made
    assert reasons == {"caf\udce9": "names of file, folders and speaker must be UTF-8, but are not"}


def test_half_characters_in_transcripts(tmp_path: Path) -> None:
    path = say(tmp_path / "a.wav", "one")
    utterances = [Utterance("a", path, "broken \ud83d emoji", ""), Utterance("b", path, "fine", "")]
    made, skipped = ingest(utterances, tmp_path / "out", Rules(spoken_text=False), 1)
    assert [cut.id for cut in made] == ["b"]
    assert [(row.id, row.reason) for row in skipped] == [("a", "transcript is not UTF-8")]


def test_whatever_goes_wrong_with_one_utterance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def times(utterance: Utterance, *_: object) -> None:
        if utterance.id == "bad":
            raise IndexError("nobody thought of it")
        raise OSError(28, "No space left on device")

    say(tmp_path / "in" / "bad.wav", "one")
    monkeypatch.setattr("spiritlm_pl.corpora.ingest._times", times)
    bad = Utterance("bad", tmp_path / "in" / "bad.wav", "one", "")
    with pytest.raises(ValueError, match="utterance cannot be used .IndexError"):
        ingest([bad], tmp_path / "out", Rules(), 1)
    with pytest.raises(OSError, match="No space left"):  # is of all, not of one
        ingest([Utterance("other", bad.path, "one", "")], tmp_path / "out", Rules(), 1)
