"""Cuts that are not what their files are.

Each word is a tone of its own, so that audio, text and times can be compared.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.array import Array, TemporalArray
from lhotse.cut import Cut
from lhotse.supervision import AlignmentItem
from lhotse.utils import fastcopy

from spiritlm_pl.cli.prepare.general import lhotse_manifest
from spiritlm_pl.corpora.audio import load_waveform
from spiritlm_pl.corpora.manifest import load_cuts, style_of, word_alignment

HERTZ = {name: 300 + 100 * i for i, name in enumerate("alpha bravo charlie delta echo foxtrot golf hotel".split())}
WORDS = list(HERTZ)
LENGTH = 0.5  # seconds of a word


def cut_of(
    folder: Path, name: str = "long", words: list[str] = WORDS, rate: int = 16_000, aligned: bool = True
) -> MonoCut:
    """A cut over a file of its own that says some words, one supervision."""
    time = torch.arange(round(LENGTH * rate)) / rate
    waveform = torch.cat([0.5 * torch.sin(2 * torch.pi * HERTZ[word] * time) for word in words])
    soundfile.write(folder / f"{name}.wav", waveform.numpy(), rate)
    recording = Recording.from_file(folder / f"{name}.wav", recording_id=name)
    items = [AlignmentItem(word, LENGTH * i, LENGTH) for i, word in enumerate(words)]
    said = SupervisionSegment(name, name, 0.0, recording.duration, text=" ".join(words), alignment={"word": items})
    cut = recording.to_cut()
    assert isinstance(cut, MonoCut)
    cut.supervisions = [said if aligned else fastcopy(said, alignment=None)]
    return cut


def made_of(folder: Path, cuts: list[Cut], **options: Any) -> tuple[dict[str, MonoCut], dict[str, str]]:
    """Cuts by id of a corpus of these and of one more (`fine`), and reasons by id of what is skipped."""
    CutSet.from_cuts([cut_of(folder, "fine", ["hotel"]), *cuts]).to_file(folder / "cuts.jsonl")
    fractions = {"validation_fraction": 0.0, "test_fraction": 0.0}
    lhotse_manifest(str(folder / "cuts.jsonl"), str(folder / "out"), num_jobs=1, overwrite=True, **fractions, **options)
    rows = [json.loads(line) for line in (folder / "out" / "skipped.jsonl").read_text().splitlines()]
    made = {cut.id: cut for cut in load_cuts(folder / "out", "train")}
    del made["fine"]
    return made, {row["id"]: row["reason"] for row in rows}


def check(cut: MonoCut, text: str, factor: float = 1.0, peak: float = 0.5) -> None:
    """A cut says these words, where it says that it does, and nothing else."""
    waveform, words = load_waveform(cut), word_alignment(cut)
    assert cut.supervisions[0].text == text and [word.text for word in words] == text.split()
    assert cut.duration == pytest.approx(len(words) * LENGTH / factor, abs=0.01)
    assert float(waveform.abs().max()) == pytest.approx(peak, rel=0.1)
    for word in words:
        heard = waveform[round((word.start + 0.05) * 16_000) : round((word.end - 0.05) * 16_000)]
        assert int(torch.fft.rfft(heard, 16_000).abs().argmax()) == pytest.approx(HERTZ[word.text] * factor, abs=3)


ALL = " ".join(WORDS)
CHANGES: dict[str, tuple[Callable[[MonoCut], Any], dict[str, Any]]] = {
    "plain": (lambda cut: cut, {"text": ALL}),
    "speed": (lambda cut: cut.perturb_speed(1.1), {"text": ALL, "factor": 1.1}),
    "slow_part": (
        lambda cut: cut.perturb_speed(0.8).truncate(offset=1.5),
        {"text": " ".join(WORDS[3:]), "factor": 0.8},
    ),
    "volume": (lambda cut: cut.perturb_volume(0.1), {"text": ALL, "peak": 0.05}),
    "padded": (lambda cut: cut.pad(duration=6.0), {"text": ALL}),
    "padded_before": (
        lambda cut: cut.pad(duration=6.0, direction="left").perturb_speed(1.1),
        {"text": ALL, "factor": 1.1},
    ),
    "begun": (lambda cut: cut.truncate(duration=1.7), {"text": "alpha bravo charlie"}),
    "middle": (lambda cut: cut.truncate(offset=1.2, duration=1.5), {"text": "delta echo"}),
    "part_of_padded": (lambda cut: cut.pad(duration=6.0).truncate(offset=2.7, duration=3.0), {"text": "golf hotel"}),
    "resampled": (lambda cut: cut.resample(8000).perturb_volume(0.5), {"text": ALL, "peak": 0.25}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_audio_text_and_times_are_those_of_the_cut(tmp_path: Path, change: str) -> None:
    function, expected = CHANGES[change]
    made, reasons = made_of(tmp_path, [function(cut_of(tmp_path))], min_sample_rate=8000)
    assert not reasons
    (cut,) = made.values()
    check(cut, **expected)


def test_windows_give_the_words_that_lie_within(tmp_path: Path) -> None:
    windows = CutSet.from_cuts([cut_of(tmp_path)]).cut_into_windows(1.2)
    made, reasons = made_of(tmp_path, list(windows))
    texts = {"long": "alpha bravo", "long-2": "delta", "long-3": "foxtrot golf"}
    assert set(made) == set(texts)
    for name, text in texts.items():
        check(made[name], text)
    assert reasons == {"long": "cut holds 0.40 of 4.00 s of the utterance, and no whole word of it"}


def test_parts_of_utterances_whose_words_are_not_known(tmp_path: Path) -> None:
    silent, wrong = cut_of(tmp_path, "silent", aligned=False), cut_of(tmp_path, "wrong")
    wrong.supervisions[0].text = "something else"
    made, reasons = made_of(tmp_path, [cut.truncate(duration=1.0) for cut in (silent, wrong)])
    held = "cut holds 1.00 of 4.00 s of the utterance, and"
    assert not made
    assert reasons["silent"] == f"{held} there are no word times to tell what is said in them"
    assert reasons["wrong"].startswith(
        f"{held} its word times do not tell what is said in them: word 1 of the transcript"
    )


def test_cuts_one_after_the_other_and_with_noise(tmp_path: Path) -> None:
    first, second = cut_of(tmp_path, "first", WORDS[:2]), cut_of(tmp_path, "second", WORDS[2:5])
    third = cut_of(tmp_path, "third", WORDS[5:7])
    noise = cut_of(tmp_path, "noise", ["alpha", "alpha"]).drop_supervisions()
    made, reasons = made_of(tmp_path, [first.append(second), third.mix(noise, snr=20)])
    assert not reasons
    check(made["first"], "alpha bravo")
    check(made["second"], "charlie delta echo")
    check(made["third"], "foxtrot golf", peak=0.55)


def test_what_cannot_be_used_is_skipped_alone(tmp_path: Path) -> None:
    one, two = cut_of(tmp_path, "one", WORDS[:2]), cut_of(tmp_path, "two", WORDS[2:4])
    features, bare = (cut_of(tmp_path, name) for name in ("features", "bare"))
    features.recording, bare.supervisions = None, []
    damaged, changed = (cut_of(tmp_path, name) for name in ("damaged", "changed"))
    (tmp_path / "damaged.wav").write_bytes(b"RIFF")
    cut_of(tmp_path, "changed", WORDS[:3])
    command = cut_of(tmp_path, "command")
    command.recording.sources[0].type = "command"
    outside = cut_of(tmp_path, "outside")
    outside.supervisions = [outside.supervisions[0].with_offset(9.0)]
    reverberant = cut_of(tmp_path, "reverberant").pad(duration=6.0).reverb_rir()
    cuts = [one.mix(two), features, bare, damaged.perturb_speed(1.1), changed, command, outside, reverberant]
    made, reasons = made_of(tmp_path, cuts)
    assert not made
    assert reasons.pop("damaged_sp1.1").startswith("lhotse cannot load the audio: ")
    assert reasons == {
        "one": "speech must be of one utterance, but is mixed with that of two",
        "two": "speech must be of one utterance, but is mixed with that of one",
        "features": "there is no audio: the cut has features alone",
        "bare": "there is no transcript: the cut has no supervision",
        "changed": "file must last 4.00 s by its manifest, but lasts 1.50 instead",
        "command": "audio is what a command writes, and commands are not run: store their output in files",
        "outside": "supervision lies outside of its cut",
        "reverberant": "a mixed cut with transforms of its own must be one utterance as a whole",
    }


@pytest.mark.parametrize("change", ["plain", "resample", "speed"])
def test_telephone_speech_enters_by_option(tmp_path: Path, change: str) -> None:
    cut: Cut = cut_of(tmp_path, rate=8000)
    if change != "plain":
        cut = cut.resample(16_000)
    if change == "speed":
        cut = cut.perturb_speed(0.9)
    made, reasons = made_of(tmp_path, [cut])
    assert not made and list(reasons.values()) == ["sample rate must be at least 16000 Hz, but is 8000 instead"]
    made, reasons = made_of(tmp_path, [cut], min_sample_rate=8000)
    assert not reasons
    check(next(iter(made.values())), ALL, factor=0.9 if change == "speed" else 1.0)


def test_styles_of_cuts_and_fields_that_are_arrays(tmp_path: Path) -> None:
    on_cut, on_supervision, plain = (cut_of(tmp_path, name) for name in ("on_cut", "on_supervision", "plain"))
    on_cut.custom = {"style": "happy"}
    on_supervision.custom, on_supervision.supervisions[0].custom = {"style": "sad"}, {"emotion": "angry", "take": 2}
    array = Array("numpy_files", str(tmp_path), "x.npy", [50])
    plain.supervisions[0].custom = {"f0": TemporalArray(array, 0, 0.01, 0), "take": 3}
    made, reasons = made_of(tmp_path, [on_cut, on_supervision.perturb_volume(0.5), plain])
    assert not reasons and len(made) == 3
    customs = [cut.supervisions[0].custom for cut in made.values()]
    assert customs == [{"style": "happy"}, {"emotion": "angry", "take": 2, "style": "angry"}, {"take": 3}]
    assert [style_of(cut) for cut in made.values()] == ["happy", "angry", ""]
