"""Durations, losses, mel and F0, against plain references."""

import math

import pytest
import torch

from spiritlm_pl.f0.yin import f0_differences, f0_error, yin_f0
from spiritlm_pl.vocoder.duration import collapse, duration_loss, durations_from_log
from spiritlm_pl.vocoder.losses import DiscriminatorOutput, adversarial_loss, discriminator_loss, feature_matching_loss
from spiritlm_pl.vocoder.mel import LogMel, MelLoss, MultiResolutionSTFTLoss


def voice(f0: float, seconds: float = 1.0) -> torch.Tensor:
    times = torch.arange(int(16_000 * seconds)) / 16_000
    return 0.1 * sum((torch.sin(2 * math.pi * f0 * k * times) / k for k in range(1, 8)), torch.zeros(()))[None]


def test_collapse_gives_runs_back() -> None:
    torch.manual_seed(0)
    units = torch.randint(0, 3, (5, 40))
    lengths = torch.tensor([40, 1, 17, 39, 2])
    values, durations, mask = collapse(units, lengths)
    for row, length in enumerate(lengths.tolist()):
        kept = durations[row] > 0
        assert torch.equal(kept, mask[row])
        assert values[row, kept].repeat_interleave(durations[row, kept]).tolist() == units[row, :length].tolist()
        assert (values[row, kept].diff() != 0).all()


def test_long_runs_are_seen_as_often_as_they_are() -> None:
    random = torch.Generator().manual_seed(0)
    size = (10_000,)
    true = torch.randint(1, 4, size, generator=random)
    true = torch.where(torch.rand(size, generator=random) < 0.1, torch.randint(10, 31, size, generator=random), true)
    units = (torch.arange(len(true)) % 50).repeat_interleave(true)
    lasting = torch.zeros_like(units)
    lasting[true.cumsum(0) - true] = true
    places = torch.randint(0, len(units) - 28, (2000,), generator=random)[:, None] + torch.arange(28)
    _, durations, mask = collapse(units[places], torch.full((2000,), 28), lasting[places])
    seen = durations[durations > 0]
    assert float((seen >= 10).float().mean()) == pytest.approx(float((true >= 10).float().mean()), rel=0.1)
    assert int((mask & (durations == 0)).sum(1).max()) == 1  # the run that started before the segment


def test_durations_are_at_least_one_and_round() -> None:
    log_durations = torch.log1p(torch.tensor([0.1, 1.0, 2.4, 2.6, 7.0]))
    assert durations_from_log(log_durations).tolist() == [1, 1, 2, 3, 7]
    durations = torch.tensor([[1, 3, 9]])
    assert duration_loss(torch.log1p(durations.float()), durations) == 0
    assert duration_loss(torch.tensor([[math.log(2), math.log(4), 5.0]]), torch.tensor([[1, 3, 0]])) < 1e-12
    assert duration_loss(torch.zeros(1, 3), torch.zeros_like(durations)) == 0


def test_adversarial_losses() -> None:
    def outputs(score: float, activation: float) -> list[DiscriminatorOutput]:
        return [DiscriminatorOutput(torch.full((2, 3), score), [torch.full((2, 4), activation)])] * 2

    assert discriminator_loss(outputs(1, 0), outputs(0, 0)) == 0
    assert discriminator_loss(outputs(0, 0), outputs(1, 0)) == 4
    assert adversarial_loss(outputs(0.5, 0)) == 0.5
    assert feature_matching_loss(outputs(0, 1), outputs(0, 3)) == 4


@pytest.mark.parametrize("f0", [80.0, 150.0, 221.0, 400.0])
def test_yin_finds_a_tone(f0: float) -> None:
    found, voiced = yin_f0(voice(f0), 16_000)
    assert voiced.float().mean() > 0.95
    torch.testing.assert_close(found[0, 10:-10], torch.full((len(found[0]) - 20,), f0), rtol=0.005, atol=0)


def test_noise_and_silence_have_no_f0() -> None:
    torch.manual_seed(0)
    assert yin_f0(0.1 * torch.randn(1, 16_000), 16_000)[1].float().mean() < 0.05
    assert not yin_f0(torch.zeros(1, 16_000), 16_000)[1].any()


def test_f0_error_in_semitones() -> None:
    semitones, voicing = f0_error(voice(200.0), voice(100.0 * 2 ** (11 / 12)), 16_000)
    assert float(semitones) == pytest.approx(1.0, abs=0.05)
    assert float(voicing) < 0.05
    semitones, voicing = f0_error(torch.zeros(1, 16_000), voice(200.0), 16_000)
    assert math.isnan(semitones) and float(voicing) > 0.9


def test_mel_and_stft_losses() -> None:
    a, b = voice(200.0), voice(150.0)
    assert LogMel()(a).shape == (1, 80, 16_000 // 256)
    for loss in (MelLoss(), MultiResolutionSTFTLoss()):
        assert float(loss(a, a)) == pytest.approx(0, abs=1e-5)
        assert float(loss(a, b)) > 0.1
        quiet = torch.zeros_like(a, requires_grad=True)
        loss(quiet, a).backward()
        assert quiet.grad is not None and torch.isfinite(quiet.grad).all()
    # twice as loud is log 2 everywhere above the floor
    assert float(MelLoss()(2 * a, a)) <= math.log(2) + 1e-4


def test_frames_of_a_batch_are_those_of_its_waveforms_alone() -> None:
    lengths = torch.tensor([16_000, 6_400, 640])
    made, real = voice(200.0).repeat(3, 1), voice(150.0).repeat(3, 1)
    inside = torch.arange(16_000) < lengths[:, None]
    made, real = made * inside, real * inside
    mel = MelLoss()
    alone = [
        (made[row : row + 1, :length], real[row : row + 1, :length], lengths[row : row + 1])
        for row, length in enumerate(lengths.tolist())
    ]
    apart = torch.cat([mel.differences(*one) for one in alone])
    assert len(apart) == 63 + 25 + 3 and float(apart.mean()) > 0.1
    torch.testing.assert_close(mel.differences(made, real, lengths), apart, rtol=1e-4, atol=1e-5)
    each = [f0_differences(a, b, 16_000, length) for a, b, length in alone]
    for together, parts in zip(f0_differences(made, real, 16_000, lengths), zip(*each, strict=True), strict=True):
        torch.testing.assert_close(together, torch.cat(parts), rtol=1e-3, atol=1e-3)
