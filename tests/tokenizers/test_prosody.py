"""Prosody alone: what the contours say, and what is wrong with settings."""

import math

import pytest
import torch
from torch import Tensor

from spiritlm_pl.tokenizers.prosody import ProsodyConfig

RATE = 16_000


def sweep(start: float, end: float, seconds: float = 1.0, amplitude: float = 0.2) -> Tensor:
    """A buzz whose F0 goes from start to end, Hz."""
    f0 = torch.logspace(math.log10(start), math.log10(end), int(seconds * RATE))
    phase = 2 * math.pi * (f0 / RATE).cumsum(0)
    return amplitude * torch.stack([torch.sin(n * phase) / n for n in range(1, 6)]).sum(0)


def contours(waveform: Tensor) -> Tensor:
    """(T, 4) at 40 Hz, without the edges."""
    frames, counts = ProsodyConfig(f0="yin").build().contours(waveform[None], torch.tensor([len(waveform)]))
    assert counts.tolist() == [math.ceil((len(waveform) // 80 + 1) / 5)]
    return frames[0, 3:-3]


def test_contours_rise_and_fall_with_the_voice() -> None:
    rising, falling = contours(sweep(120, 180)), contours(sweep(180, 120))
    assert bool((rising[1:, 0] > rising[:-1, 0]).all()) and bool((falling[1:, 0] < falling[:-1, 0]).all())
    steps = (rising[1:, 0] - rising[:-1, 0])[4:-4]
    assert float(steps.mean()) == pytest.approx(4 * math.log(180 / 120) / 40, rel=0.05)  # 40 frames a second
    assert bool((rising[:, 1] == 1).all())
    torch.testing.assert_close(rising[:, 3], falling[:, 3], atol=0.02, rtol=0)  # one mean F0


def test_height_and_loudness_are_apart_from_the_contour() -> None:
    low, high = contours(sweep(100, 130)), contours(sweep(200, 260))
    torch.testing.assert_close(low[:, 0], high[:, 0], atol=0.1, rtol=0)
    torch.testing.assert_close(high[:, 3] - low[:, 3], torch.full_like(low[:, 3], 4 * math.log(2)), atol=0.05, rtol=0)
    loud, quiet = contours(sweep(100, 130, amplitude=0.4)), contours(sweep(100, 130, amplitude=0.1))
    torch.testing.assert_close(loud[:, 2], quiet[:, 2], atol=0.05, rtol=0)  # against the mean of each
    burst = contours(torch.cat([sweep(120, 120, amplitude=0.02), sweep(120, 120, amplitude=0.2)]))
    assert float(burst[-5:, 2].mean() - burst[:5, 2].mean()) == pytest.approx(math.log(10), abs=0.2)


def test_what_follows_the_end_does_not_matter() -> None:
    encoder = ProsodyConfig(f0="yin", channels=8).build().eval()
    waveform = sweep(120, 180)[:15_990]
    alone, counts = encoder(waveform[None], torch.tensor([15_990]))
    junk = torch.cat([waveform, torch.full((9_000,), 0.5)])
    followed, followed_counts = encoder(junk[None], torch.tensor([15_990]))
    assert counts.tolist() == followed_counts.tolist()
    torch.testing.assert_close(followed[:, : int(counts[0])], alone)


def test_half_precision_gives_about_the_same() -> None:
    encoder = ProsodyConfig(f0="yin", channels=8).build().eval()
    waveform, lengths = sweep(120, 180)[None], torch.tensor([16_000])
    features, _ = encoder(waveform, lengths)
    torch.testing.assert_close(encoder.bfloat16()(waveform, lengths)[0].float(), features, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("waveform", [torch.zeros(8000), 0.1 * torch.randn(8000), torch.zeros(0)])
def test_audio_without_voice_has_features(waveform: Tensor) -> None:
    encoder = ProsodyConfig(f0="yin", channels=8).build().eval()
    features, counts = encoder(waveform[None], torch.tensor([len(waveform)]))
    assert features.shape == (1, int(counts[0]), 8) and bool(features.isfinite().all())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"f0": "ear"}, "f0 must be one of fcpe, torchaudio, yaapt, yin, or the path of a class .*, but is 'ear'"),
        ({"f0": "yin", "channels": 0}, "channels must be at least 1, but is 0"),
        ({"f0": "yin", "kernel": 4}, "kernel must be odd, but is 4"),
        ({"f0": "yin", "dropout": 1.0}, "dropout must be in .0, 1., but is 1.0"),
    ],
)
def test_settings_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProsodyConfig(**settings).build()
