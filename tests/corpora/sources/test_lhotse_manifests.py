import gzip
import json
import tarfile
from pathlib import Path

import pytest
import soundfile
import torch
from lhotse import CutSet, MonoCut, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.supervision import AlignmentItem

from spiritlm_pl.cli.prepare.general import lhotse_manifest
from spiritlm_pl.corpora.audio import load_waveform
from spiritlm_pl.corpora.manifest import SPLITS, load_cuts, word_alignment
from spiritlm_pl.corpora.sources.lhotse_manifests import read_manifests
from spiritlm_pl.corpora.splitting import by_split, split_of_part

NAMES = ("a", "b", "c", "d", "e")
LEFT_OPEN = "ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning"  # by lhotse: archives


@pytest.fixture
def cuts(tmp_path: Path) -> CutSet:
    """Five cuts of a second, each with a word at 0.2 s."""
    made = []
    for i, name in enumerate(NAMES):
        (tmp_path / "audio").mkdir(exist_ok=True)
        tone = 0.5 * torch.sin(torch.arange(16_000) * (0.1 + 0.02 * i))
        soundfile.write(tmp_path / "audio" / f"{name}.wav", tone.numpy(), 16_000)
        cut = Recording.from_file(tmp_path / "audio" / f"{name}.wav").to_cut()
        assert isinstance(cut, MonoCut)
        words = [AlignmentItem(name * 2, 0.2, 0.5)]
        cut.supervisions = [SupervisionSegment(name, name, 0.0, 1.0, text=name * 2, alignment={"word": words})]
        made.append(cut)
    return CutSet.from_cuts(made)


def prepared(source: Path, out: Path, fraction: float = 0.0) -> tuple[dict[str, dict[str, MonoCut]], dict[str, str]]:
    """Cuts by split and id of the corpus that the command makes, and reasons by id of what it skips."""
    lhotse_manifest(str(source), str(out), num_jobs=1, validation_fraction=fraction, test_fraction=fraction)
    rows = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    made = {split: {cut.id: cut for cut in load_cuts(out, split)} for split in SPLITS}
    assert not list(out.parent.rglob(".shar.*"))
    return made, {row["id"]: row["reason"] for row in rows}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".yaml"])
def test_items_that_cannot_be_read_are_skipped_alone(tmp_path: Path, cuts: CutSet, suffix: str) -> None:
    path = tmp_path / f"cuts{suffix}"
    cuts.to_file(path.with_suffix(".json") if suffix == ".yaml" else path)
    if suffix == ".yaml":  # lhotse cannot write word times as YAML, but JSON is YAML
        path.with_suffix(".json").rename(path)
    if suffix.startswith(".jsonl"):
        odd = [*(json.dumps(item) for item in ([], {"id": "odd", "type": "Odd"}, {"id": "s"})), '{"id": ']
        for field, value in (("start", None), ("text", 5), ("alignment", {"word": [["a", None, 0.5]]})):
            fields = next(iter(cuts)).to_dict()
            fields["id"] = fields["supervisions"][0]["id"] = field
            fields["supervisions"][0][field] = value
            odd.append(json.dumps(fields))
        odd.append(json.dumps({**next(iter(cuts)).supervisions[0].to_dict(), "id": "alone"}))
        with (gzip.open if suffix == ".jsonl.gz" else open)(path, "at") as file:
            file.write("\n".join(odd) + "\n")
    made, reasons = prepared(path, tmp_path / "out")
    assert sorted(made["train"]) == list(NAMES)
    if suffix.startswith(".jsonl"):
        assert reasons.pop("text") == "text must be a string, but is 5 instead"
        assert set(reasons) == {"item 6", "odd", "s", "item 9", "alone", "start", "alignment"}
    else:
        assert not reasons
    assert all(reason.startswith(("it cannot be read: ", "lhotse cannot read it: ")) for reason in reasons.values())


def test_recordings_whose_values_are_of_another_type_are_skipped_alone(tmp_path: Path, cuts: CutSet) -> None:
    recordings = [cut.recording.to_dict() for cut in cuts]
    recordings[0]["sources"][0]["channels"] = 0
    recordings[1]["sources"][0]["channels"] = ["0"]
    recordings[3]["sampling_rate"] = [16_000]
    recordings += [{**recordings[4], "id": ["f"]}, {**recordings[4], "id": "g", "channel_ids": 1}]
    supervisions = [cut.supervisions[0].to_dict() for cut in cuts]
    supervisions[2]["recording_id"] = ["c"]
    for name, items in (("recordings", recordings), ("supervisions", supervisions)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    parts, skipped = read_manifests(tmp_path / "recordings.jsonl", tmp_path / "supervisions.jsonl")
    assert [[s.id for s in cut.supervisions] for cut in parts[""]] == [[], ["e"]]
    reasons = {row.id: row.reason for row in skipped if "there is no recording" not in row.reason}
    assert set(reasons) == {"a", "b", "c", "d", "['f']", "g"} and all(
        "must be of type" in reason for reason in reasons.values()
    )


def test_supervisions_of_recordings_that_are_missing(tmp_path: Path, cuts: CutSet) -> None:
    recordings = [cut.recording for cut in cuts]
    recordings[0].sources[0].source = str(tmp_path / "none.wav")
    RecordingSet.from_recordings(recordings[:-1]).to_file(tmp_path / "r.jsonl")
    SupervisionSet.from_segments(s for cut in cuts.subset(last=4) for s in cut.supervisions).to_file(
        tmp_path / "s.jsonl"
    )
    parts, skipped = read_manifests(tmp_path / "r.jsonl", tmp_path / "s.jsonl")
    assert [[s.id for s in cut.supervisions] for cut in parts[""]] == [[], ["b"], ["c"], ["d"]]
    assert [(row.id, row.reason) for row in skipped] == [("e", "there is no recording e")]
    with pytest.raises(ValueError, match="is of Recording with None instead"):
        read_manifests(tmp_path / "r.jsonl")


@pytest.mark.filterwarnings(LEFT_OPEN)
@pytest.mark.parametrize("audio_format", ["flac", "opus", "wav"])
def test_shar_folders(tmp_path: Path, cuts: CutSet, audio_format: str) -> None:
    (tmp_path / "shar").mkdir()
    cuts.to_shar(tmp_path / "shar", fields={"recording": audio_format}, shard_size=2)
    made, reasons = prepared(tmp_path / "shar", tmp_path / "out")
    assert sorted(made["train"]) == list(NAMES) and not reasons
    original = {cut.id: cut for cut in cuts}
    for name, cut in made["train"].items():
        assert Path(cut.recording.sources[0].source).parent == tmp_path / "out" / "audio"
        assert [word.start for word in word_alignment(cut)] == [0.2]
        expected = load_waveform(str(tmp_path / "audio" / f"{original[name].recording.id}.wav"))
        error = float((load_waveform(cut) - expected).abs().mean())
        assert error < (0.05 if audio_format == "opus" else 1e-3)


@pytest.mark.filterwarnings(LEFT_OPEN)
def test_word_times_of_a_recording_that_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Cuts out of a long recording lie in Shar alone, but their words keep its times; the first fits by chance."""
    soundfile.write(tmp_path / "long.wav", 0.5 * torch.sin(torch.arange(160_000) * 0.1).numpy(), 16_000)
    cut = Recording.from_file(tmp_path / "long.wav").to_cut()
    cut.supervisions = [
        SupervisionSegment(
            f"s{i}", "long", start, 2.0, text="hi", alignment={"word": [AlignmentItem("hi", start, 0.5)]}
        )
        for i, start in enumerate((0.3, 3.0, 6.0))
    ]
    (tmp_path / "shar").mkdir()
    CutSet.from_cuts([cut]).trim_to_supervisions().to_shar(tmp_path / "shar", fields={"recording": "wav"})
    made, reasons = prepared(tmp_path / "shar", tmp_path / "out")
    assert not reasons
    assert [word_alignment(made["train"][name]) for name in ("s0", "s1", "s2")] == [[], [], []]
    assert "word times fit 1 of 3 utterances, so that none are taken" in caplog.text


@pytest.mark.filterwarnings(LEFT_OPEN)
def test_shar_folders_that_are_damaged(tmp_path: Path, cuts: CutSet) -> None:
    (tmp_path / "shar").mkdir()
    cuts.to_shar(tmp_path / "shar", fields={"recording": "flac"}, shard_size=2)
    with tarfile.open(tmp_path / "shar" / "recording.000000.tar") as whole:
        whole.extractall(tmp_path / "parts", filter="data")
        names = whole.getnames()
    with tarfile.open(tmp_path / "shar" / "recording.000000.tar", "w") as shorter:
        for name in names[: len(names) // 2]:
            shorter.add(tmp_path / "parts" / name, name)
    (tmp_path / "shar" / "recording.000001.tar").write_bytes(b"x" * 3000)
    made, reasons = prepared(tmp_path / "shar", tmp_path / "out")
    ids = [cut.id for cut in cuts]
    assert sorted(made["train"]) == ["a", "e"]
    assert reasons.pop(ids[1]) == "the archive ends before it"
    assert set(reasons) == set(ids[2:4])
    assert all(reason.startswith("lhotse cannot read the archive: ") for reason in reasons.values())


@pytest.mark.parametrize("kind", ["cuts", "pairs"])
def test_folders_of_manifests_keep_their_splits(tmp_path: Path, cuts: CutSet, kind: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / ".manifests.done").touch()
    for part, ids in (("train-clean", "abc"), ("dev", "d"), ("test", "e")):
        members = cuts.filter(lambda cut, ids=ids: cut.supervisions[0].id in ids).to_eager()
        if kind == "cuts":
            members.to_file(folder / f"mine_cuts_{part}.jsonl.gz")
        else:
            RecordingSet.from_recordings(cut.recording for cut in members).to_file(
                folder / f"mine_recordings_{part}.jsonl.gz"
            )
            said = SupervisionSet.from_segments(s for cut in members for s in cut.supervisions)
            said.to_file(folder / f"mine_supervisions_{part}.jsonl.gz")
    made, reasons = prepared(folder, tmp_path / "out", fraction=0.3)
    assert {split: sorted(of_split) for split, of_split in made.items()} == {
        "train": ["a", "b", "c"],
        "validation": ["d"],
        "test": ["e"],
    }
    assert not reasons


def test_folders_that_leave_open_what_is_meant(tmp_path: Path, cuts: CutSet) -> None:
    with pytest.raises(
        FileNotFoundError, match="manifest must be a file, a Shar folder, a Kaldi folder, or a folder with"
    ):
        read_manifests(tmp_path)
    RecordingSet.from_recordings(cut.recording for cut in cuts).to_file(tmp_path / "recordings.jsonl")
    with pytest.raises(ValueError, match=r"pairs of recordings and supervisions, but .*recordings.jsonl is alone"):
        read_manifests(tmp_path)
    cuts.to_file(tmp_path / "cuts.jsonl")
    with pytest.raises(ValueError, match=r"has cuts.jsonl and recordings.jsonl: name the one that is meant"):
        read_manifests(tmp_path)
    with pytest.raises(ValueError, match="supervisions must be None if the manifest is a folder"):
        read_manifests(tmp_path, tmp_path / "s.jsonl")
    with pytest.raises(FileNotFoundError, match="manifest must be a file or folder, but .*none.jsonl is not there"):
        lhotse_manifest(str(tmp_path / "none.jsonl"), str(tmp_path / "deep" / "out"))
    assert not (tmp_path / "deep").exists()


def test_kaldi_folders(tmp_path: Path, cuts: CutSet) -> None:
    folder, audio = tmp_path / "kaldi", tmp_path / "audio"
    folder.mkdir()
    files = {
        "wav.scp": [f"r1 {audio / 'a.wav'}", f"r2\t{audio / 'b.wav'}", "r3 sph2pipe -f wav c.sph |", "r4 none.wav"],
        "segments": [
            "s1 r1 0.25 0.75",
            "s2 r2 0 -1",
            "s3 r3 0 1",
            "s4 r4 0 1",
            "s5 r9 0 1",
            "s6 r1 0.9 0.1",
            "s7 r1 zero one",
            "s8 r1 0 1",
            "s9 r1 0.5 4.0",
            "s11 r1 0 inf",
            "s12 r1 nan -1",
        ],
        "text": [
            *(f"s{i} WORDS of {name}" for i, name in enumerate("abcdefg", start=1)),
            "s9 of more",
            "s10 of nothing",
        ],
        "utt2spk": ["s1 anna", "s2 ben"],
        "utt2lang": ["s2 pl"],
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    made, reasons = prepared(folder, tmp_path / "out")
    found = {name: (cut.duration, cut.supervisions[0]) for name, cut in made["train"].items()}
    assert {name: (seconds, s.text, s.speaker, s.language) for name, (seconds, s) in found.items()} == {
        "s1": (0.5, "words of a", "anna", "en"),
        "s2": (1.0, "words of b", "ben", "pl"),
    }
    assert reasons == {
        "s3": "audio is what a command writes, and commands are not run: store their output in files",
        "s4": "audio file is missing",
        "s5": "recording r9 is not in wav.scp",
        "s6": "start and end must be seconds, the end after the start or -1, but are 'r1 0.9 0.1' instead",
        "s7": "segments must have a recording, a start and an end in seconds, but have 'r1 zero one' instead",
        "s8": "there is no transcript beside it",
        "s9": "file ends 3.00 s before the utterance does",
        "s10": "there is no audio: it is not in segments or wav.scp",
        **{
            name: f"start and end must be seconds, the end after the start or -1, but are {line!r} instead"
            for name, line in {"s11": "r1 0 inf", "s12": "r1 nan -1"}.items()
        },
    }
    (folder / "segments").unlink()
    (folder / "text").write_text("r1 one\u2028and a half\nr2 two\n", encoding="utf-8")
    made, _ = prepared(folder, tmp_path / "whole")
    texts = {name: cut.supervisions[0].text for name, cut in made["train"].items()}
    assert texts == {"r1": "one and a half", "r2": "two"}
    (folder / "text").write_text("r1 one\nr1 two\n")
    with pytest.raises(ValueError, match=r"ids of text must differ, but r1 stands again in line 2 of "):
        prepared(folder, tmp_path / "double")


def test_parts_that_name_no_split_do_not_mix_what_is_held_out(caplog: pytest.LogCaptureFixture) -> None:
    assert by_split({"XL": [1], "DEV": [2], "TEST": [3]}) == {"train": [1], "validation": [2], "test": [3]}
    assert "names of parts XL tell no split: they are trained on" in caplog.text
    assert by_split({"evalita-train": [1], "evalita-test": [2]}) == {"train": [1], "validation": [], "test": [2]}
    assert by_split({"dev-clean": [1], "test-clean": [2]}) == [1, 2]
    assert "parts dev-clean, test-clean do not tell what is held out: all are split anew" in caplog.text


@pytest.mark.parametrize(
    ("part", "split"),
    [
        *[("dev-clean", "validation"), ("test_dev93", "validation"), ("train-clean-100", "train"), ("eval92", "test")],
        *[("contest-train", "train"), ("device-train", "train"), ("validated", None), ("TEST_NET", "test")],
    ],
)
def test_splits_are_told_by_whole_words(part: str, split: str | None) -> None:
    assert split_of_part(part) == split
