import math

import pytest
import torch

from spiritlm_pl.benchmarks.make.acoustics import BACKGROUNDS, InRooms, OverBackground, background, impulse_response
from spiritlm_pl.benchmarks.make.speaking import LEVEL, Utterance, say, to_level
from spiritlm_pl.benchmarks.make.treatments import Joined, Paused, Words
from spiritlm_pl.corpora.synthetic.espeak import Voice

RATE = 16_000


def parts() -> list[Utterance]:
    return [say(text, Voice("en-us")) for text in ("The fox reached the river.", "He saw a lamp.")]


def rms(waveform: torch.Tensor) -> float:
    return float(waveform.square().mean().sqrt())


def test_a_room_decays_as_told() -> None:
    for seconds in (0.3, 1.2):
        answer = impulse_response(seconds, 3)[1:]
        quarter = len(answer) // 4
        fall = 20 * math.log10(rms(answer[:quarter]) / rms(answer[2 * quarter : 3 * quarter]))
        assert fall == pytest.approx(30, abs=2)  # 60 dB in all, so half of it over half of the time
    assert not torch.equal(impulse_response(0.3, 3), impulse_response(0.3, 4))


def test_backgrounds_are_of_one_level_and_differ() -> None:
    spectra = {}
    for name in [name for family in BACKGROUNDS.values() for name in family]:
        sound = background(name, 2 * RATE, 1)
        assert rms(sound) == pytest.approx(1, rel=1e-3) and bool(sound.isfinite().all())
        assert torch.equal(sound, background(name, 2 * RATE, 1))
        power = torch.fft.rfft(sound).abs().square()
        spectra[name] = float((power * torch.fft.rfftfreq(2 * RATE, 1 / RATE)).sum() / power.sum())
    assert spectra["white"] > spectra["pink"] > spectra["brown"]


@pytest.mark.parametrize("treatment", [InRooms, OverBackground])
def test_a_change_has_no_click_and_no_other_length_or_level(treatment: type) -> None:
    said = parts()
    names = ("office", "church") if treatment is InRooms else ("pink", "shower")
    right, wrong = to_level(treatment(names[:1] * 2, 5)(said)), to_level(treatment(names, 5)(said))
    place = len(said[0].waveform)
    assert len(right) == len(wrong)
    before = slice(2000, place - 2000)
    assert torch.nn.functional.cosine_similarity(right[before], wrong[before], dim=0) > 0.999
    assert torch.nn.functional.cosine_similarity(right[place + 2000 :], wrong[place + 2000 :], dim=0) < 0.99
    join = slice(place - 400, place + 1200)
    assert wrong[join].diff().abs().max() <= 1.2 * wrong.diff().abs().max()
    halves = [rms(one[place + 2000 : -8000]) for one in (right, wrong)]
    assert halves[0] == pytest.approx(halves[1], rel=0.2)


def test_the_background_is_as_far_below_the_speech_as_told() -> None:
    said = parts()
    noisy = OverBackground(("white", "white"), 1, snr=10.0)(said)
    clean = to_level(Joined(0.05)(said))
    noise = (noisy - clean)[200:-200]
    assert 20 * math.log10(LEVEL / rms(noise)) == pytest.approx(10, abs=0.5)


def test_pauses_and_cut_words() -> None:
    [said, _] = parts()
    paused = Paused(2, seconds=0.5)([said])
    assert len(paused) == len(said.waveform) + RATE // 2
    place = round(said.words[2].start * RATE)
    assert not paused[place : place + RATE // 2].any() and paused[place - 1] == 0
    assert torch.equal(paused[: place - 100], said.waveform[: place - 100])
    inside = Paused(1, inside=0.5, seconds=0.5)([said])
    word = said.words[1]
    middle = round((word.start + word.end) / 2 * RATE)
    assert not inside[middle : middle + RATE // 2].any()
    first, second = Words(end=2)([said]), Words(start=2)([said])
    assert len(first) == place and len(first) + len(second) == len(said.waveform)


def test_speech_is_trimmed_levelled_and_timed() -> None:
    for name in ("en-us", "en-us+f5", "en-us+whisper", "pl"):
        said = say("hello there", Voice(name))
        assert rms(said.waveform) == pytest.approx(LEVEL, rel=1e-3) and said.waveform.abs().max() < 0.96
        loud = (said.waveform.abs() > 0.02 * said.waveform.abs().max()).nonzero()
        assert 0.01 < int(loud[0]) / RATE < 0.08 and 0.01 < (len(said.waveform) - int(loud[-1])) / RATE < 0.08
        assert [word.text for word in said.words] == ["hello", "there"]
        assert 0 <= said.words[0].start < said.words[-1].end <= len(said.waveform) / RATE
        assert torch.equal(said.waveform, say("hello there", Voice(name)).waveform)
