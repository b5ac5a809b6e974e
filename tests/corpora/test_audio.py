import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lhotse import MonoCut, Recording

from spiritlm_pl.corpora import audio
from spiritlm_pl.corpora.audio import AudioError, load_audio_file, load_waveform, num_samples, save_wav, to_mono
from spiritlm_pl.corpora.cut_index import CutIndex
from spiritlm_pl.corpora.ingest import Rules, Utterance, ingest
from spiritlm_pl.corpora.manifest import Word, iterate_cuts, load_cuts, make_cut, save_corpus, style_of, word_alignment

TONE = 0.5 * torch.sin(torch.arange(16_000) * 0.1)


def test_wav_round_trip(tmp_path: Path) -> None:
    save_wav(tmp_path / "a.wav", TONE)
    waveform, rate = load_audio_file(tmp_path / "a.wav")
    assert rate == 16_000
    torch.testing.assert_close(waveform[0], TONE, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="shape"):
        save_wav(tmp_path / "b.wav", TONE[None])


def test_bad_audio_is_skipped_with_its_reason(tmp_path: Path) -> None:
    save_wav(tmp_path / "good.wav", TONE)
    soundfile.write(tmp_path / "stereo.flac", torch.stack([TONE, TONE], 1).repeat(3, 1).numpy(), 44_100)
    soundfile.write(tmp_path / "low.wav", TONE.numpy(), 8_000)
    save_wav(tmp_path / "short.wav", TONE[:100])
    save_wav(tmp_path / "silent.wav", torch.zeros(16_000))
    (tmp_path / "zero.wav").touch()
    (tmp_path / "corrupt.wav").write_bytes(b"no audio" * 99)
    (tmp_path / "truncated.wav").write_bytes((tmp_path / "good.wav").read_bytes()[:9_000])
    flac = (tmp_path / "stereo.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(flac[: len(flac) // 2])
    names = [
        "good.wav",
        "stereo.flac",
        "low.wav",
        "short.wav",
        "silent.wav",
        "zero.wav",
        "corrupt.wav",
        "truncated.wav",
        "cut.flac",
        "missing.wav",
    ]
    utterances = [Utterance(name, tmp_path / name, "hello 2", "me") for name in names]
    utterances.append(Utterance("emoji", tmp_path / "good.wav", "😀 !!", "me"))
    cuts, skipped = ingest(utterances, tmp_path / "out", Rules())
    assert [cut.id for cut in cuts] == ["good.wav", "stereo.flac"]
    assert cuts[0].supervisions[0].text == "hello two"
    assert cuts[1].duration == pytest.approx(48_000 / 44_100, abs=1e-3) and load_waveform(cuts[1]).dim() == 1
    reasons = {row.id: row.reason for row in skipped}
    assert len(reasons) == 9
    for name, part in {
        "low.wav": "sample rate",
        "short.wav": "duration",
        "silent.wav": "silent",
        "zero.wav": "zero bytes",
        "corrupt.wav": "corrupt",
        "truncated.wav": "truncated",
        "missing.wav": "missing",
        "emoji": "no words",
    }.items():
        assert part in reasons[name]


@pytest.mark.parametrize("missing", ["", "nan", "None", "NULL", "N/A"])
def test_names_that_stand_for_nobody_and_no_style(missing: str, tmp_path: Path) -> None:
    save_wav(tmp_path / "a.wav", TONE)
    known = Utterance("a", tmp_path / "a.wav", "hi", "me", custom={"style": "happy", "x": 1})
    unknown = Utterance("b", tmp_path / "a.wav", "hi", missing, custom={"style": missing, "x": 1})
    first, second = ingest([known, unknown], tmp_path / "out", Rules())[0]
    assert (first.supervisions[0].speaker, style_of(first)) == ("me", "happy")
    assert (second.supervisions[0].speaker, style_of(second)) == ("", "")
    assert second.supervisions[0].custom == {"x": 1}


def test_all_skipped_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="usable utterances.*missing"):
        ingest([Utterance("a", tmp_path / "a.wav", "hi", "me")], tmp_path, Rules())


def test_corpus_folder_can_move(tmp_path: Path) -> None:
    folder = tmp_path / "before"
    save_wav(folder / "audio" / "a.wav", TONE)
    cut = make_cut(
        "a",
        folder / "audio" / "a.wav",
        sample_rate=16_000,
        num_samples=16_000,
        text="hi",
        speaker="me",
        words=[Word("hi", 0.25, 0.75)],
        custom={"story": "s"},
    )
    save_corpus(folder, {"train": [cut]}, name="n", source="s", licence="l")
    moved = folder.rename(tmp_path / "after")
    for cuts in (load_cuts(moved, "train"), iterate_cuts(moved, "train"), CutIndex(moved, "train")):
        (loaded,) = cuts
        assert load_waveform(loaded).shape == (16_000,)
        assert word_alignment(loaded) == [Word("hi", 0.25, 0.75)]
        assert loaded.supervisions[0].custom == {"story": "s"}
    part = loaded.truncate(offset=0.25, duration=0.5, preserve_id=True)
    torch.testing.assert_close(load_waveform(part), TONE[4_000:12_000], atol=1e-4, rtol=0)


def test_the_end_of_an_mp3_is_known_where_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "long.mp3"
    soundfile.write(path, TONE.repeat(10).numpy(), 16_000, format="MP3")
    content = path.read_bytes()
    assert abs(load_audio_file(path)[0].shape[1] - 160_000) < 3_000
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="truncated"):
        load_audio_file(path)
    path.write_bytes(content[content.find(content[:2], 4) :])  # without its first frame, the table
    assert abs(load_audio_file(path)[0].shape[1] - 160_000) < 3_000


def test_missing_and_damaged_corpora(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="spiritlm prepare"):
        load_cuts(tmp_path, "train")
    with pytest.raises(ValueError, match="split must be"):
        load_cuts(tmp_path, "dev")
    (tmp_path / "cuts_train.jsonl.gz").write_bytes(b"not gzip")
    with pytest.raises(FileNotFoundError, match="corpus must be finished, but .* has no corpus.json"):
        load_cuts(tmp_path, "train")
    (tmp_path / "corpus.json").write_text("{}")
    with pytest.raises(ValueError, match="damaged"):
        load_cuts(tmp_path, "train")
    supervision = {"id": "a", "recording_id": "a", "start": 0.0, "duration": 1.0, "alignment": None}
    cut = {"id": "a", "start": 0.0, "duration": 1.0, "channel": 0, "supervisions": [supervision], "type": "MonoCut"}
    (tmp_path / "cuts_train.jsonl.gz").write_bytes(gzip.compress(json.dumps(cut).encode()))
    with pytest.raises(ValueError, match="manifest must be intact, but .* is damaged"):
        load_cuts(tmp_path, "train")
    with pytest.raises(AudioError, match="missing"):
        load_audio_file(tmp_path / "x.wav")


def test_audio_without_samples_is_told() -> None:
    with pytest.raises(AudioError, match="audio must hold samples, but has none"):
        to_mono(torch.zeros(2, 0), 44_100)


@pytest.mark.parametrize(
    ("rate", "channels", "kind"), [(16_000, 1, "wav"), (16_000, 1, "flac"), (22_050, 1, "wav"), (16_000, 2, "wav")]
)
def test_a_part_is_what_the_whole_has_there(rate: int, channels: int, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal((2 * rate, channels)), rate)
    for start in (0.0, 0.30003):
        cut = MonoCut("a", start, 1.5, 0, recording=Recording.from_file(path))
        whole = load_waveform(cut, 16_000)
        assert len(whole) == num_samples(cut, 16_000) == 24_000
        for first, length in ((0, 100), (1234, 5000), (23_990, 10), (20_000, 4000), (23_000, 5000), (7, 0)):
            assert torch.equal(load_waveform(cut, 16_000, first, length), whole[first : first + length])
        assert torch.equal(load_waveform(cut, 16_000, 20_000), whole[20_000:])


def test_a_part_decodes_no_more_than_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_wav(tmp_path / "a.wav", torch.zeros(160_000))
    cut = MonoCut("a", 0.0, 10.0, 0, recording=Recording.from_file(tmp_path / "a.wav"))
    decoded = []

    def decode(*arguments: Any) -> Any:
        for waveform, rate in original(*arguments):
            decoded.append(waveform.shape[1])
            yield waveform, rate

    original = audio.decode
    monkeypatch.setattr(audio, "decode", decode)
    assert len(load_waveform(cut, 16_000, 16_000, 320)) == 320 and decoded == [320]


def test_a_file_that_ends_before_its_cut_is_told_for_every_part(tmp_path: Path) -> None:
    save_wav(tmp_path / "a.wav", torch.full((32_000,), 0.5))
    cut = MonoCut("a", 0.0, 2.0, 0, recording=Recording.from_file(tmp_path / "a.wav"))
    save_wav(tmp_path / "a.wav", torch.full((31_900,), 0.5))  # a little shorter than its manifest says
    assert torch.equal(load_waveform(cut, 16_000, 31_000, 1000), load_waveform(cut, 16_000)[31_000:])
    save_wav(tmp_path / "a.wav", torch.full((16_000,), 0.5))
    with pytest.raises(AudioError, match=r"must have 2\.00 s"):
        load_waveform(cut, 16_000, 20_000, 1000)
