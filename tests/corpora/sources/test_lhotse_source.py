import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from lhotse import CutSet, MonoCut, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.audio import AudioSource
from lhotse.supervision import AlignmentItem

from spiritlm_pl.alignment.sources import LhotseAligner
from spiritlm_pl.cli.prepare.general import lhotse_manifest
from spiritlm_pl.corpora.audio import load_waveform
from spiritlm_pl.corpora.ingest import Rules, ingest
from spiritlm_pl.corpora.manifest import SPLITS, Word, load_cuts, phone_alignment, word_alignment
from spiritlm_pl.corpora.sources.lhotse_source import pieces_of, utterances_of

TIME = torch.arange(160_000) / 16_000


def tone(hertz: int, seconds: int = 10) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hertz * TIME[: seconds * 16_000])


def segment(name: str, start: float, words: str, origin: float, **values: object) -> SupervisionSegment:
    """Two seconds with half a second a word, from 0.1 s on, in times that count from `origin`."""
    items = [AlignmentItem(word, start - origin + 0.1 + 0.5 * i, 0.5, 0.75) for i, word in enumerate(words.split())]
    alignment = {"word": items, "phone": items} if items else None
    fields = {"duration": 2.0, "text": "a b", "alignment": alignment, **values}
    return SupervisionSegment(id=name, recording_id="long", start=start, **fields)


def cuts_of(path: Path, waveforms: list[torch.Tensor], segments: list[SupervisionSegment]) -> CutSet:
    soundfile.write(path, torch.stack(waveforms, 1).numpy(), 16_000)
    recording = Recording.from_file(path, recording_id="long")
    return CutSet.from_manifests(
        recordings=RecordingSet.from_recordings([recording]), supervisions=SupervisionSet.from_segments(segments)
    )


def prepared(manifest: Path, **options: Any) -> tuple[dict[str, MonoCut], dict[str, str]]:
    """Cuts by id of the corpus that the command makes, and reasons by id of what it skips."""
    out = manifest.parent / "out"
    lhotse_manifest(str(manifest), str(out), num_jobs=1, validation_fraction=0.0, test_fraction=0.0, **options)
    rows = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    return {cut.id: cut for cut in load_cuts(out, "train")}, {row["id"]: row["reason"] for row in rows}


def loudest(cut: MonoCut, start: float = 0.0, end: float | None = None) -> int:
    """Frequency in Hz, to the nearest of a spectrum, of what is loudest in a part of a cut."""
    heard = load_waveform(cut)[round(start * 16_000) : None if end is None else round(end * 16_000)]
    return round(int(torch.fft.rfft(heard, 16_000).abs().argmax()))


EXPECTED = [Word("a", 0.1, 0.6), Word("b", 0.6, 1.1)]


@pytest.mark.parametrize("of_recording", [True, False], ids=["recording", "segment"])
def test_word_times_count_from_the_start_of_the_segment(tmp_path: Path, of_recording: bool) -> None:
    starts = {"s0": 0.05, "s1": 4.0, "s2": 7.0}  # by itself, s0 fits both ways
    segments = [
        segment(name, start, "A <eps> B".replace("<eps> ", ""), start * (not of_recording))
        for name, start in starts.items()
    ]
    segments.append(segment("s3", 7.5, "", 0.0))
    cuts = cuts_of(tmp_path / "long.wav", [tone(200)], segments)
    cuts.to_file(tmp_path / "cuts.jsonl.gz")
    lhotse_manifest(str(tmp_path / "cuts.jsonl.gz"), str(tmp_path / "out"), num_jobs=1)
    made = {cut.id: cut for split in SPLITS for cut in load_cuts(tmp_path / "out", split)}
    assert set(made) == {"s0", "s1", "s2", "s3"} and word_alignment(made["s3"]) == []
    aligner = LhotseAligner(str(tmp_path / "cuts.jsonl.gz"))
    for name in starts:
        assert made[name].duration == 2.0
        assert word_alignment(made[name]) == EXPECTED
        assert [(p.start, p.end) for p in phone_alignment(made[name])] == [(0.1, 0.6), (0.6, 1.1)]
        assert [(w.text, round(w.start, 4)) for w in aligner.align(name, None, ["a", "b"]).words] == [
            ("a", 0.1),
            ("b", 0.6),
        ]


def test_word_times_that_count_from_a_cut(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", tone(200).numpy(), 16_000)
    recording = Recording.from_file(tmp_path / "long.wav", recording_id="long")
    inside = [segment("s0", 0.5, "a b", 0.0), segment("s1", 2.5, "a b", 0.0)]
    cut = MonoCut(id="c", start=5.0, duration=5.0, channel=0, recording=recording, supervisions=inside)
    found = utterances_of({"": [cut]})[0][""]
    assert [(u.start, u.duration) for u in found] == [(5.5, 2.0), (7.5, 2.0)]
    assert [[(w.text, round(w.start, 4)) for w in u.words] for u in found] == [[("a", 0.1), ("b", 0.6)]] * 2


def test_words_that_do_not_fit_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segments = [
        segment("fits", 1.0, "a b", 0.0),
        segment("late", 3.0, "a b", -50.0),
        segment("other", 5.0, "a c", 0.0),
        segment("twice", 7.0, "a b", 0.0, text="a b a b"),
    ]
    cuts_of(tmp_path / "long.wav", [tone(200)], segments).to_file(tmp_path / "cuts.jsonl.gz")
    lhotse_manifest(str(tmp_path / "cuts.jsonl.gz"), str(tmp_path / "out"), num_jobs=1, licence="CC0")
    made = [cut for split in SPLITS for cut in load_cuts(tmp_path / "out", split)]
    assert {cut.id: len(word_alignment(cut)) for cut in made} == {"fits": 2, "late": 0, "other": 0, "twice": 0}
    out = capsys.readouterr().out
    assert "word times: 1 of 4 utterances" in out and "licence: CC0" in out


def test_channels_of_a_conversation_stay_apart(tmp_path: Path) -> None:
    segments = [segment(f"s{c}", 2.0 * c, "", 0.0, channel=c) for c in (0, 1)]
    segments.append(segment("whole", 0.0, "", 0.0, channel=1, duration=10.0))
    cuts = cuts_of(tmp_path / "long.wav", [tone(200), tone(1000)], segments)
    made, skipped = ingest(utterances_of({"": cuts})[0][""], tmp_path / "out", Rules(), 1)
    assert not skipped and {cut.id: cut.duration for cut in made} == {"s0": 2.0, "s1": 2.0, "whole": 10.0}
    for cut in made:
        spectrum = torch.fft.rfft(load_waveform(cut)[:16_000]).abs()  # 1 Hz a bin
        assert int(spectrum.argmax()) == (200 if cut.id == "s0" else 1000)
        assert float(spectrum[200 if cut.id != "s0" else 1000]) < 1.0
    (alone,) = pieces_of({"": cuts_of(tmp_path / "two.wav", [tone(200), tone(1000)], segments[2:])})[0][""]
    assert isinstance(alone.cut, MonoCut) and alone.cut.channel == 1


@pytest.mark.parametrize(("channel", "hertz"), [(None, None), (1, 1000)])
def test_utterance_of_several_channels(tmp_path: Path, channel: int | None, hertz: int | None) -> None:
    segments = [segment("both", 1.0, "", 0.0, channel=[0, 1]), segment("one", 4.0, "", 0.0, channel=0)]
    cuts_of(tmp_path / "both.wav", [tone(200), tone(1000)], segments).to_file(tmp_path / "cuts.jsonl")
    made, reasons = prepared(tmp_path / "cuts.jsonl", channel=channel)
    assert loudest(made["one"]) == 200
    if channel is None:
        assert reasons == {"both": "utterance must be of one channel, but is of 0, 1: choose with --channel"}
    else:
        assert not reasons and loudest(made["both"]) == hertz


def test_channels_in_files_of_their_own(tmp_path: Path) -> None:
    for channel, hertz in enumerate((200, 1000)):
        soundfile.write(tmp_path / f"{channel}.wav", tone(hertz).numpy(), 16_000)
    recording = Recording(
        id="long",
        sources=[AudioSource(type="file", channels=[c], source=str(tmp_path / f"{c}.wav")) for c in (0, 1)],
        sampling_rate=16_000,
        num_samples=160_000,
        duration=10.0,
    )
    cuts = CutSet.from_manifests(
        recordings=RecordingSet.from_recordings([recording]),
        supervisions=SupervisionSet.from_segments([segment("s", 1.0, "", 0.0, channel=1)]),
    )
    (utterance,) = utterances_of({"": cuts})[0][""]
    assert utterance.path.name == "1.wav" and utterance.channel is None


def test_segments_that_end_after_their_recording(tmp_path: Path) -> None:
    segments = [segment("little", 8.02, "", 0.0), segment("far", 9.0, "", 0.0), segment("fine", 0.0, "", 0.0)]
    cuts_of(tmp_path / "long.wav", [tone(200)], segments).to_file(tmp_path / "cuts.jsonl")
    made, reasons = prepared(tmp_path / "cuts.jsonl")
    assert sorted(made) == ["fine", "little"]
    held = "cut holds 1.00 of 2.00 s of the utterance"
    assert reasons == {"far": f"{held}, and there are no word times to tell what is said in them"}


def test_language_that_a_corpus_does_not_name(tmp_path: Path) -> None:
    segments = [segment("s0", 0.0, "", 0.0), segment("s1", 2.0, "", 0.0, language="de")]
    cuts = cuts_of(tmp_path / "long.wav", [tone(200)], segments)
    assert [u.language for u in utterances_of({"": cuts}, "pl")[0][""]] == ["pl", "de"]


def test_damaged_manifests_are_named(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl.gz"
    cuts_of(tmp_path / "long.wav", [tone(200)], [segment("s0", 0.0, "a b", 0.0)]).to_file(path)
    whole = path.read_bytes()
    for content in (b"", b"xx", whole[: len(whole) // 2], whole[:-4], gzip.compress(b'{"a": 1}'), gzip.compress(b"{")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cuts.jsonl.gz is not|the source has none"):
            lhotse_manifest(str(path), str(tmp_path / "out"), num_jobs=1)
