from pathlib import Path

import pytest
import soundfile
import torch

from spiritlm_pl.cli.prepare.published import expresso
from spiritlm_pl.corpora.audio import load_waveform
from spiritlm_pl.corpora.manifest import SPLITS, load_cuts, read_info
from spiritlm_pl.corpora.sources.expresso import pieces, read_expresso, read_spans
from spiritlm_pl.f0.yin import yin_f0

RATE = 48_000


def _tone(hertz: float, seconds: float) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)


def _write(path: Path, *channels: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, torch.stack(channels, dim=1).numpy(), RATE, subtype="PCM_24")


@pytest.fixture
def corpus_dir(tmp_path: Path) -> Path:
    root = tmp_path / "expresso"
    read = root / "audio_48khz" / "read" / "ex01"
    for name in ("happy_00001", "happy_00002", "happy_00003", "happy_00004"):
        _write(read / "happy" / "base" / f"ex01_{name}.wav", _tone(200, 0.5))
    _write(read / "default" / "base" / "ex01_default_emphasis_00001.wav", _tone(200, 0.5))
    _write(read / "default" / "longform" / "ex01_default_longform_00001.wav", _tone(150, 6.0))
    dialogues = root / "audio_48khz" / "conversational" / "ex04-ex01"
    _write(dialogues / "sad-sympathetic" / "ex04-ex01_sad-sympathetic_001.wav", _tone(100, 4.0), _tone(300, 4.0))
    _write(dialogues / "laughing" / "ex04-ex01_laughing_001.wav", _tone(100, 1.0), _tone(300, 1.0))
    _write(root / "audio_48khz" / "conversational" / "ex01" / "singing" / "ex01_singing_001.wav", _tone(100, 1.0))
    (root / "read_transcriptions.txt").write_text(
        "ex01_happy_00001\tGreat news!\nex01_happy_00002\tSee you at *ten*.\nex01_happy_00003\tGreat news.\n"
        "ex01_default_emphasis_00001\tWe *did* it.\nex01_default_longform_00001\tAll of the story\n"
    )
    (root / "VAD_segments.txt").write_text(
        "#VAD segments of Expresso long files\n"
        "ex04-ex01_sad-sympathetic_001/channel1\t(0.0, 0.75) (1.5, 3.0)\n"
        "ex04-ex01_sad-sympathetic_001/channel2\t(0.8, 1.4) (3.1, 3.15)\n"
        "ex01_default_longform_00001\t(0.0, 5.0)\n"
    )
    splits = {
        "train": "ex04-ex01_sad-sympathetic_001\t(2.0s,)\nex04-ex01_laughing_001\n"
        "ex01_default_longform_00001\t(4.0s,)\nex01_happy_00001\nex01_happy_00004\nex01_default_emphasis_00001\nex01_happy_00009\n",
        "dev": "ex04-ex01_sad-sympathetic_001\t(,2.0s)\nex01_default_longform_00001\t(,2.0s)\nex01_happy_00002\n",
        "test": "ex01_default_longform_00001\t(2.0s,4.0s)\nex01_happy_00003\n",
    }
    for name, lines in splits.items():
        (root / "splits").mkdir(exist_ok=True)
        (root / "splits" / f"{name}.txt").write_text(f"# If only one segment is extracted, ...\n{lines}")
    return root


def test_layout_becomes_utterances_with_styles(corpus_dir: Path, tmp_path: Path) -> None:
    expresso(str(corpus_dir), str(tmp_path / "out"), longest_piece=1.5, num_jobs=1)
    cuts = {split: {cut.id: cut for cut in load_cuts(tmp_path / "out", split)} for split in SPLITS}
    info = read_info(tmp_path / "out")
    assert info is not None and "CC BY-NC 4.0" in info["licence"]
    assert {split: sorted(members) for split, members in cuts.items()} == {
        "train": [
            "ex01_default_emphasis_00001",
            "ex01_default_longform_00001-ex01-train-000",
            "ex04-ex01_laughing_001-ex01-train-000",
            "ex04-ex01_laughing_001-ex04-train-000",
            "ex04-ex01_sad-sympathetic_001-ex04-train-000",
        ],
        "validation": [
            "ex01_default_longform_00001-ex01-validation-000",
            "ex01_default_longform_00001-ex01-validation-001",
            "ex01_happy_00002",
            "ex04-ex01_sad-sympathetic_001-ex01-validation-000",
            "ex04-ex01_sad-sympathetic_001-ex04-validation-000",
            "ex04-ex01_sad-sympathetic_001-ex04-validation-001",
        ],
        "test": [
            "ex01_default_longform_00001-ex01-test-000",
            "ex01_default_longform_00001-ex01-test-001",
            "ex01_happy_00003",
        ],
    }
    supervision = cuts["train"]["ex01_default_emphasis_00001"].supervisions[0]
    assert (supervision.text, supervision.speaker) == ("we did it", "ex01")
    assert supervision.custom == {"style": "default", "kind": "read", "substyle": "emphasis"}
    for name, speaker, style, hertz, seconds in (
        ("ex04-ex01_sad-sympathetic_001-ex04-validation-000", "ex04", "sad", 100, 0.75),
        ("ex04-ex01_sad-sympathetic_001-ex04-validation-001", "ex04", "sad", 100, 0.5),
        ("ex04-ex01_sad-sympathetic_001-ex01-validation-000", "ex01", "sympathetic", 300, 0.6),
    ):
        cut = cuts["validation"][name]
        supervision = cut.supervisions[0]
        assert (supervision.text, supervision.speaker) == ("", speaker)
        assert supervision.custom == {"style": style, "kind": "dialogue"}
        assert cut.duration == pytest.approx(seconds, abs=1e-3)
        f0, voiced = yin_f0(load_waveform(cut)[None], 16_000)
        assert float(f0[voiced].median()) == pytest.approx(hertz, rel=0.02)
    assert cuts["train"]["ex04-ex01_laughing_001-ex01-train-000"].supervisions[0].custom["style"] == "laughing"
    assert cuts["test"]["ex01_default_longform_00001-ex01-test-000"].duration == pytest.approx(1.0, abs=1e-3)


def test_what_cannot_be_used_is_listed(corpus_dir: Path, tmp_path: Path) -> None:
    broken = corpus_dir / "audio_48khz" / "read" / "ex01" / "default" / "base" / "ex01_default_emphasis_00001.wav"
    broken.write_bytes(broken.read_bytes()[:2_000])
    expresso(str(corpus_dir), str(tmp_path / "out"), num_jobs=1)
    listed = (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()
    reasons = {line.split('"')[3]: line for line in listed}
    assert len(listed) == len(reasons) == 6
    assert "audio file is missing" in reasons["ex01_happy_00009"]
    assert "no split names it" in reasons["ex01_singing_001"]
    assert "no transcript" in reasons["ex01_happy_00004"]
    assert "same words are in the test split" in reasons["ex01_happy_00001"]
    assert "truncated" in reasons["ex01_default_emphasis_00001"]
    assert "duration must be" in reasons["ex04-ex01_sad-sympathetic_001-ex01-train-000"]


def test_another_layout_is_refused(corpus_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="longest_piece must be above 0"):
        read_expresso(corpus_dir, 0.0)
    dev = corpus_dir / "splits" / "dev.txt"
    dev.write_text("ex01_default_longform_00001\tfirst minute\n")
    with pytest.raises(ValueError, match="parts of a file must be written as .*'first minute'"):
        read_expresso(corpus_dir, 15.0)
    dev.unlink()
    with pytest.raises(FileNotFoundError, match="dev.txt is not there"):
        read_expresso(corpus_dir, 15.0)
    with pytest.raises(FileNotFoundError, match="audio_48khz is not there"):
        read_expresso(tmp_path, 15.0)


def test_spans_and_pieces() -> None:
    inf = float("inf")
    assert read_spans("(0.0, 1.5) (2.25, 4)") == [(0.0, 1.5), (2.25, 4.0)]
    assert read_spans("(,60.0s)") == [(0.0, 60.0)] and read_spans("(60.0s,)") == [(60.0, inf)]
    assert read_spans("") == []
    assert list(pieces([(0.0, 4.0), (5.0, 6.0)], [(1.0, 5.5)], 2.0)) == [(1.0, 2.5), (2.5, 4.0), (5.0, 5.5)]
    assert list(pieces([(0.0, inf)], [(60.0, inf)], 2.0)) == [(60.0, inf)]
