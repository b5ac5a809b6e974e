"""Several speakers at the same time: the audio of one utterance would hold the words of another."""

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from lhotse import CutSet, Recording, SupervisionSegment

from spiritlm_pl.cli.prepare.general import folder, lhotse_manifest
from spiritlm_pl.corpora.manifest import SPLITS, load_cuts

# name, speaker, start and end in seconds: two talk at once, and one alone; the last two only touch
TALK = [
    ("one", "ann", 0.0, 3.0),
    ("two", "ben", 2.0, 4.0),
    ("three", "ann", 4.5, 5.5),
    ("four", "ben", 5.54, 6.0),
    ("five", "ben", 5.7, 6.0),
]
REASON = "speech must be of one speaker, but {} talks, too, in {}, for more than 0.05 s: --max-overlap lets it in"


def recording_of(place: Path, channels: int = 1) -> Recording:
    noise = 0.1 * torch.randn(96_000, channels, generator=torch.Generator().manual_seed(0))
    soundfile.write(place / "talk.wav", noise.numpy(), 16_000)
    return Recording.from_file(place / "talk.wav", recording_id="talk")


def said(channel: int = 0, **changes: Any) -> list[SupervisionSegment]:
    return [
        SupervisionSegment(name, "talk", start, end - start, channel, text=f"number {name}", speaker=speaker, **changes)
        for name, speaker, start, end in TALK
    ]


def made_of(out: Path) -> tuple[set[str], dict[str, str]]:
    rows = [json.loads(line) for line in (out / "skipped.jsonl").read_text(encoding="utf-8").splitlines()]
    made = {str(cut.supervisions[0].text).removeprefix("number ") for split in SPLITS for cut in load_cuts(out, split)}
    return made, {row["id"]: row["reason"] for row in rows}


def prepared(cuts: CutSet, place: Path, **options: Any) -> tuple[set[str], dict[str, str]]:
    cuts.to_file(place / "cuts.jsonl")
    lhotse_manifest(str(place / "cuts.jsonl"), str(place / "out"), num_jobs=1, overwrite=True, **options)
    return made_of(place / "out")


@pytest.mark.parametrize("trimmed", [False, True], ids=["recording", "trimmed"])
def test_utterances_in_which_another_speaker_talks(tmp_path: Path, trimmed: bool) -> None:
    cut = recording_of(tmp_path).to_cut()
    cut.supervisions = said()
    cuts = CutSet.from_cuts([cut])
    if trimmed:  # each cut knows of its own utterance alone
        cuts = cuts.trim_to_supervisions(keep_overlapping=False)
    made, reasons = prepared(cuts, tmp_path)
    assert made == {"three", "four", "five"}  # the last two are of one speaker
    assert reasons == {"one": REASON.format("ben", "two"), "two": REASON.format("ann", "one")}
    assert prepared(cuts, tmp_path, max_overlap=1.5) == ({"one", "two", "three", "four", "five"}, {})


def test_speakers_on_channels_of_their_own_do_not_disturb_each_other(tmp_path: Path) -> None:
    cut = recording_of(tmp_path, channels=2).to_cut()
    first, second = said(0), said(1)
    cut.supervisions = [first[0], second[1]]
    assert prepared(CutSet.from_cuts([cut]), tmp_path) == ({"one", "two"}, {})


def test_noises_and_windows_are_no_other_speakers(tmp_path: Path) -> None:
    cut = recording_of(tmp_path).to_cut()
    cut.supervisions = said()[:1]
    noise = SupervisionSegment("noise", "talk", 0.5, 0.5, text="[noise]", speaker="none")
    again = SupervisionSegment("again", "talk", 1.0, 2.0, text="number again", speaker="ann")
    cut.supervisions += [noise, again]
    made, reasons = prepared(CutSet.from_cuts([cut]), tmp_path)
    assert made == {"one", "again"} and reasons.keys() == {"noise"}


def test_unknown_speakers_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut = recording_of(tmp_path).to_cut()
    cut.supervisions = said()
    for supervision in cut.supervisions:
        supervision.speaker = None
    made, reasons = prepared(CutSet.from_cuts([cut]), tmp_path)
    assert len(made) == 5 and not reasons
    assert "4 utterances overlap others of their recording, and nobody knows whether the speakers" in caplog.text


def test_tables_and_kaldi_folders(tmp_path: Path) -> None:
    recording_of(tmp_path)
    rows = [f"talk.wav,{start},{end},{speaker},number {name}" for name, speaker, start, end in TALK]
    (tmp_path / "table.csv").write_text("\n".join(["path,start,end,speaker,text", *rows]), encoding="utf-8")
    folder(str(tmp_path), str(tmp_path / "out"), table=str(tmp_path / "table.csv"), num_jobs=1)
    made, reasons = made_of(tmp_path / "out")
    assert made == {"three", "four", "five"} and reasons.keys() == {"talk-0000000-0003000", "talk-0002000-0004000"}
    files = {
        "wav.scp": [f"talk {tmp_path / 'talk.wav'}"],
        "segments": [f"{name} talk {start} {end}" for name, _, start, end in TALK],
        "text": [f"{name} number {name}" for name, *_ in TALK],
        "utt2spk": [f"{name} {speaker}" for name, speaker, *_ in TALK],
    }
    for name, lines in files.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    lhotse_manifest(str(tmp_path), str(tmp_path / "out"), num_jobs=1, overwrite=True)
    made, reasons = made_of(tmp_path / "out")
    assert made == {"three", "four", "five"}
    assert reasons == {"one": REASON.format("ben", "two"), "two": REASON.format("ann", "one")}
