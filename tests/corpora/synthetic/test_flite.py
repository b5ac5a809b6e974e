"""Flite's voices: every word has its time, and the same text the same samples."""

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spiritlm_pl.cli.prepare.synthetic import text
from spiritlm_pl.corpora.debian import PackageError
from spiritlm_pl.corpora.manifest import load_cuts, phone_alignment, speaker_of, word_alignment
from spiritlm_pl.corpora.synthetic.espeak import UnsayableError
from spiritlm_pl.corpora.synthetic.flite import (
    NOTICE_FILE,
    VOICES,
    FliteSpeaker,
    FliteVoice,
    flite_libraries,
    flite_speaker,
)


@pytest.fixture(scope="module")
def libraries(flite: Path) -> Iterator[Path]:
    with flite_libraries(flite) as folder:
        yield folder


@pytest.mark.parametrize("name", VOICES)
def test_every_word_has_its_own_time(name: str, libraries: Path) -> None:
    voice = FliteVoice(f"flite-{name}", libraries)
    spoken = flite_speaker(libraries).speak("The fox's 42 cafés aren't open. Ask at six o'clock!", voice)
    words = "the fox's forty two cafés aren't open ask at six o'clock".split()
    assert [word.text for word in spoken.words] == words
    assert all(word.end - word.start > 0.03 for word in spoken.words)
    assert all(after.start >= before.end for before, after in zip(spoken.words, spoken.words[1:], strict=False))
    assert spoken.words[-1].end <= len(spoken.samples) / spoken.sample_rate and spoken.sample_rate == 16_000
    pause = spoken.words[7].start - spoken.words[6].end  # between the sentences
    assert pause > 0.05
    loud = [np.abs(spoken.samples[int(word.start * 16_000) : int(word.end * 16_000)]).mean() for word in spoken.words]
    quiet = np.abs(spoken.samples[: int(spoken.words[0].start * 8_000)]).mean()
    assert min(loud) > 5 * quiet
    first = [phone.text for phone in spoken.phones if phone.start < spoken.words[0].end]
    assert first[0] == "dh" and all(phone.text != "pau" for phone in spoken.phones)


def test_the_same_text_has_the_same_samples_whatever_was_said_before(libraries: Path) -> None:
    speaker, voice = flite_speaker(libraries), FliteVoice("flite-slt", libraries)
    first = speaker.speak("A cow ran.", voice).samples
    speaker.speak("Something else.", FliteVoice("flite-rms", libraries))
    assert np.array_equal(first, speaker.speak("A cow ran.", voice).samples)
    slow = speaker.speak("A cow ran.", FliteVoice("flite-slt", libraries, speed=100)).samples
    assert 1.6 < len(slow) / len(first) < 1.9
    assert np.array_equal(first, speaker.speak("A cow ran.", voice).samples)  # a speed does not stay


class Without:
    """Library of which one function gives a null pointer, as when Flite runs out of memory."""

    def __init__(self, library: ctypes.CDLL, function: str) -> None:
        self.library, self.function = library, function

    def __getattr__(self, name: str) -> Any:
        null = None if name == "flite_synth_text" else ctypes.POINTER(ctypes.c_int)()
        return (lambda *_: null) if name == self.function else getattr(self.library, name)


def test_what_cannot_be_said_is_told(libraries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voice = FliteVoice("flite-slt", libraries)
    letters = "text must be in the letters a to z, with or without accents, for voice flite-slt"
    for said, message in (("!", "words to say"), ("Он пришёл", letters), ("encyclopædia", letters)):
        with pytest.raises(UnsayableError, match=message):
            flite_speaker(libraries).speak(said, voice)
    assert [word.text for word in flite_speaker(libraries).speak("A café.", voice).words] == ["a", "café"]
    nothing = FliteSpeaker(libraries)
    for answer in ("flite_synth_text", "utt_wave"):
        with monkeypatch.context() as patch:
            patch.setattr(nothing, "_library", Without(nothing._library, answer))
            with pytest.raises(UnsayableError, match="text must be one that Flite can say, but is 'A cat ran.'"):
                nothing.speak("A cat ran.", voice)
    with pytest.raises(PackageError, match="must hold libflite.so"):
        FliteSpeaker(tmp_path)
    assert "Carnegie Mellon" in (libraries / NOTICE_FILE).read_text()


def test_a_corpus_of_both_synthesizers(flite: Path, tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("A cat ran. A dog ran. A pig ran. Он пришёл.", encoding="utf-8")
    out = tmp_path / "out"
    options = {"voices": ("en-us", "flite-slt"), "times_said": 2, "validation_fraction": 0.0, "test_fraction": 0.0}
    text(str(file), str(out), **options, flite=str(flite), num_jobs=1)
    cuts = list(load_cuts(out, "train"))
    assert {speaker_of(cut) for cut in cuts} == {"espeak-en-us", "flite-slt"}
    assert sum(speaker_of(cut) == "flite-slt" for cut in cuts) == 3
    assert "must be in the letters a to z, with or" in (out / "skipped.jsonl").read_text(encoding="utf-8")
    for cut in cuts:
        assert " ".join(word.text for word in word_alignment(cut)) == cut.supervisions[0].text
        assert len(phone_alignment(cut)) > len(word_alignment(cut)) and cut.sampling_rate == 16_000
