import pytest
import torch
from torch import Tensor
from torchaudio.functional import convolve

from spiritlm_pl.tokenizers.augment import Augmentation, _transform_size, stretch


def tone(seconds: float) -> Tensor:
    return torch.sin(2 * torch.pi * 500 * torch.arange(int(seconds * 16_000)) / 16_000)[None]


def test_augmentation_is_a_function_of_the_seed() -> None:
    augmentation = Augmentation(probability=1.0)
    waveforms, lengths = 0.1 * torch.randn(2, 16_000), torch.tensor([16_000, 9_000])
    first, second = augmentation(waveforms, lengths, 3), augmentation(waveforms, lengths, 3)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[1], augmentation(waveforms, lengths, 4)[1])
    assert bool(torch.isfinite(first[0]).all()) and bool((first[0][1, first[1][1] :] == 0).all())


def test_stretch_keeps_the_pitch() -> None:
    fast = stretch(tone(1.0), 1.25)
    assert fast.shape == (1, 12_800)
    peak = torch.fft.rfft(fast[0, 2_000:10_000]).abs().argmax() * 16_000 / 8_000
    assert abs(float(peak) - 500) < 10


@pytest.mark.parametrize("rate", [0.7, 1.3])
def test_stretch_keeps_loudness_to_the_end_of_a_long_tone(rate: float) -> None:
    slow = stretch(tone(60.0), rate)
    loudness = slow[0, 4_000:-4_000].unfold(0, 1_600, 1_600).square().mean(1).sqrt()
    assert loudness.min() > 0.4 and loudness.max() / loudness.min() < 1.005


@pytest.mark.parametrize("level", [0.0, 1e-40])  # numbers below 1.2e-38 have fewer digits
def test_stretch_goes_on_after_silence(level: float) -> None:
    waveforms = torch.cat([tone(1.0), level * tone(0.5), tone(1.0)], dim=1)
    slow = stretch(waveforms, 0.8)
    assert slow[0, 21_000:29_000].abs().max() < 1e-30
    assert slow[0, 32_000:-2_000].square().mean().sqrt() > 0.4


def test_transforms_have_small_prime_factors_alone() -> None:
    for samples in (1, 7, 11, 99_199, 96_000, 397_312, 1_000_003):
        rest = size = _transform_size(samples)
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        assert rest == 1 and samples <= size <= 1.25 * samples + 1


@pytest.mark.parametrize("samples", [16_000, 15_013])
def test_reverberation_is_a_convolution_of_each_waveform(samples: int) -> None:
    augmentation = Augmentation()

    def reverberate(waveforms: Tensor) -> Tensor:
        return augmentation._reverberate(waveforms, 0.2, torch.Generator().manual_seed(7))

    waveforms = torch.randn(3, samples)
    impulse = torch.zeros(1, 3_200)
    impulse[0, 0] = 1.0
    response = reverberate(impulse)
    torch.testing.assert_close(
        reverberate(waveforms), convolve(waveforms, response.expand(3, -1))[:, :samples], atol=2e-4, rtol=0
    )
