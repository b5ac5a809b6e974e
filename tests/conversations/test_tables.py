"""Tables of intents and transcripts as conversations: their columns, their splits, and the form that they are given."""

import json
from pathlib import Path

import pytest
import torch

from spiritlm_pl.benchmarks.few_shot.conversation import published_template
from spiritlm_pl.conversations.prepare import prepare_conversations
from spiritlm_pl.conversations.prepared import form_of
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.manifest import load_cuts

ACTIONS = ("carry", "hide")


@pytest.fixture
def wavs(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    for number in range(12):
        save_wav(tmp_path / "fsc" / "wavs" / f"{number}.wav", 0.1 * torch.randn(16_000, generator=generator))
    return tmp_path / "fsc"


def prepared(table: Path, out: Path, task: str, **options) -> dict[str, list[tuple[str, str]]]:
    """Transcribed or labelled answers by split, each with its id."""
    prepare_conversations([str(table)], out, task=task, num_jobs=1, **options)
    found = {}
    for split in ("train", "validation", "test"):
        lines = map(json.loads, (out / f"conversations-{split}.jsonl").read_text().splitlines())
        found[split] = [(line["id"], line["turns"][1]["parts"][0].get("text", "")) for line in lines]
    return found


def test_fluent_speech_commands(wavs, tmp_path):
    rows = [f"{n},wavs/{n}.wav,ann,the fox,{ACTIONS[n % 2]},lamp,none" for n in range(4)]
    table = wavs / "data" / "train_data.csv"
    table.parent.mkdir()
    table.write_text("\n".join([",path,speakerId,transcription,action,object,location", *rows, 'x,"broken']) + "\n")
    found = prepared(table, tmp_path / "out", "intent", audio_root=str(wavs), validation_fraction=0, test_fraction=0)
    assert sorted(text for _, text in found["train"]) == ["carry lamp none"] * 2 + ["hide lamp none"] * 2
    listed = (tmp_path / "out" / "skipped.jsonl").read_text()
    assert "cannot be split into its columns" in listed and listed.count("\n") == 1
    assert form_of(tmp_path / "out") == "intent" and published_template("intent").side("assistant").ends


def test_labels_do_not_decide_the_split(wavs, tmp_path):
    """Or else a held-out intent would be one that is never learnt."""
    rows = [f"wavs/{n}.wav\t{ACTIONS[n % 2]}" for n in range(12)]
    (wavs / "labels.tsv").write_text("\n".join(["path\tlabel", *rows]) + "\n")
    found = prepared(wavs / "labels.tsv", tmp_path / "out", "intent", validation_fraction=0.25, test_fraction=0.25)
    assert [len(found[split]) for split in found] == [6, 3, 3]
    assert all({text for _, text in found[split]} == {*ACTIONS} for split in found)
    said = [f"{row}\tsentence {n // 3}" for n, row in enumerate(rows)]
    (wavs / "said.tsv").write_text("\n".join(["path\tlabel\ttext", *said]) + "\n")
    found = prepared(wavs / "said.tsv", tmp_path / "said", "intent", validation_fraction=0.25, test_fraction=0.25)
    assert [len(found[split]) for split in found] == [6, 3, 3]
    sentences = [{(int(name.rpartition("-")[2]) - 2) // 3 for name, _ in members} for members in found.values()]
    assert list(map(len, sentences)) == [2, 1, 1] and len(set.union(*sentences)) == 4  # ids end with the line


def test_a_table_that_tells_what_is_held_out_keeps_its_splits(wavs, tmp_path):
    parts = ("train", "train", "dev", "test")
    rows = [f"wavs/{n}.wav,word {n},{parts[n % 4]}" for n in range(12)]
    (wavs / "rows.csv").write_text("\n".join(["path,text,split", *rows]) + "\n")
    found = prepared(wavs / "rows.csv", tmp_path / "out", "asr")
    assert {split: sorted(text for _, text in found[split]) for split in found} == {
        "train": sorted(f"word {n}" for n in range(12) if n % 4 < 2),
        "validation": ["word 10", "word 2", "word 6"],
        "test": ["word 11", "word 3", "word 7"],
    }


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        (["test"], [0, 0, 12]),  # nothing to train on, but nothing that is held out is trained on
        (["", "test", "valid"], [4, 4, 4]),
        (["train"], [6, 3, 3]),  # nothing is told to be held out: drawn
    ],
)
def test_what_is_told_to_be_held_out_stays_so(wavs, tmp_path, parts, sizes):
    rows = [f"wavs/{n}.wav,word {n},{parts[n % len(parts)]}" for n in range(12)]
    (wavs / "rows.csv").write_text("\n".join(["path,text,split", *rows]) + "\n")
    options = {"validation_fraction": 0.25, "test_fraction": 0.25}
    assert [len(found) for found in prepared(wavs / "rows.csv", tmp_path / "out", "asr", **options).values()] == sizes


def test_times_in_a_table_cut_a_recording(wavs, tmp_path):
    (wavs / "times.csv").write_text(
        "path,text,start,end,duration\n"
        "wavs/0.wav,a,0.25,0.75,\nwavs/0.wav,b,0.5,,0.4\nwavs/0.wav,c,soon,1,\nwavs/0.wav,d,0.5,0.5,\n"
    )
    prepare_conversations(
        [str(wavs / "times.csv")], tmp_path / "out", task="asr", validation_fraction=0, test_fraction=0, num_jobs=1
    )
    durations = {cut.id: cut.duration for cut in load_cuts(tmp_path / "out", "train")}
    assert list(durations.values()) == pytest.approx([0.5, 0.4])
    listed = (tmp_path / "out" / "skipped.jsonl").read_text()
    assert "audio with start that is no number of seconds" in listed and "duration that is not above 0" in listed
