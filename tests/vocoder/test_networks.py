"""Generators, their sizes and shapes, what they learn, and their configuration as a folder."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spiritlm_pl.runtime.checkpoint import load_network, save_network
from spiritlm_pl.vocoder.discriminators import (
    MultiPeriodDiscriminator,
    MultiScaleDiscriminator,
    SpectrogramDiscriminator,
)
from spiritlm_pl.vocoder.hifigan import HiFiGANConfig, HiFiGANVocoder
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTHead, InverseSTFTVocoder
from spiritlm_pl.vocoder.vocoder import Vocoder

SMALL_STFT = InverseSTFTConfig(
    num_units=10,
    speakers=("ann", "bob"),
    embedding_dim=8,
    channels=16,
    hidden_channels=24,
    unit_blocks=1,
    frame_blocks=1,
    duration_channels=8,
)
SMALL_HIFIGAN = HiFiGANConfig(
    num_units=10,
    speakers=("ann", "bob"),
    styles=("calm", "glad"),
    embedding_dim=8,
    upsample_initial_channels=32,
    resblock_kernel_sizes=(3,),
    resblock_dilations=((1, 3),),
    duration_channels=8,
)


EXPRESSIVE = {"num_pitches": 6, "num_styles": 4, "default_pitch": 5, "default_style": 2}
NAMES = ["stft", "hifigan", "stft_expressive", "hifigan_expressive"]


def small(name: str) -> Vocoder:
    torch.manual_seed(0)
    changes = EXPRESSIVE if name.endswith("_expressive") else {}
    if name.startswith("stft"):
        return InverseSTFTVocoder(replace(SMALL_STFT, **changes))
    return HiFiGANVocoder(replace(SMALL_HIFIGAN, **changes))


def inputs(vocoder: Vocoder, size: int, frames: int) -> dict[str, torch.Tensor]:
    """Frames of all that a vocoder reads, as arguments of `forward`."""
    streams = {"units": 10, "pitches": 6, "styles": 4} if vocoder.expressive else {"units": 10}
    given = {name: torch.randint(0, number, (size, frames)) for name, number in streams.items()}
    return given | {"speakers": torch.arange(size) % 2}


@pytest.mark.parametrize("name", NAMES)
def test_one_unit_is_one_hop(name: str) -> None:
    vocoder = small(name).eval()
    made = vocoder(**inputs(vocoder, 3, 7))
    assert made.shape == (3, 7 * 640)
    assert made.abs().max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_all_that_is_given_matters_and_context_is_local(name: str) -> None:
    vocoder = small(name).eval()
    given = inputs(vocoder, 1, 80)
    made = vocoder(**given)
    assert not torch.allclose(vocoder(**given | {"speakers": torch.tensor([1])}), made)
    if vocoder.config.styles:
        assert not torch.allclose(vocoder(**given, global_styles=torch.tensor([1])), made)
    for stream in sorted(given.keys() - {"speakers"}):
        other = given[stream].clone()
        other[0, -1] = (other[0, -1] + 1) % 4
        changed = vocoder(**given | {stream: other})
        assert not torch.allclose(changed, made)
        torch.testing.assert_close(changed[:, : 40 * 640], made[:, : 40 * 640])


def test_base_does_not_mind_codes() -> None:
    vocoder = small("hifigan").eval()
    given = inputs(vocoder, 2, 5)
    codes = {"pitches": torch.full((2, 5), 77), "styles": torch.full((2, 5), 77)}
    torch.testing.assert_close(vocoder(**given, **codes), vocoder(**given))
    assert torch.equal(vocoder.synthesize([1, 2], pitches=[77, 78]), vocoder.synthesize([1, 2]))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_network_is_the_same(name: str, tmp_path: Path) -> None:
    vocoder = small(name).eval()
    save_network(tmp_path / "vocoder", vocoder, "vocoder")
    loaded = load_network(tmp_path / "vocoder", "vocoder")
    assert isinstance(loaded, Vocoder)
    given = inputs(vocoder, 1, 5)
    torch.testing.assert_close(loaded(**given), vocoder(**given))
    assert torch.equal(loaded.synthesize([3, 4]), vocoder.synthesize([3, 4]))
    assert loaded.speaker_id("bob") == 1 and loaded.num_speakers == 2


def test_published_sizes() -> None:
    vocoder = HiFiGANVocoder(HiFiGANConfig())
    assert sum(p.numel() for p in vocoder.generator.parameters()) == pytest.approx(13.7e6, rel=0.02)
    assert sum(p.numel() for p in MultiPeriodDiscriminator().parameters()) == pytest.approx(41.1e6, rel=0.01)
    assert sum(p.numel() for p in MultiScaleDiscriminator().parameters()) == pytest.approx(29.6e6, rel=0.01)
    quick = InverseSTFTVocoder(InverseSTFTConfig(num_units=200))
    assert sum(p.numel() for p in quick.parameters()) == pytest.approx(4.2e6, rel=0.05)


def test_synthesize_repeats_units_by_their_durations() -> None:
    vocoder = small("stft")
    units = torch.tensor([3, 4, 9])
    made = vocoder.synthesize(units, "bob", durations=torch.tensor([2, 1, 3]))
    vocoder.eval()
    expected = vocoder(torch.tensor([[3, 3, 4, 9, 9, 9]]), torch.tensor([1]))[0]
    torch.testing.assert_close(made, expected.detach())
    predicted = vocoder.synthesize(units, 1)
    assert len(predicted) >= 3 * 640 and len(predicted) % 640 == 0
    assert len(vocoder.synthesize([], 0)) == 0


def test_codes_last_as_long_as_their_units() -> None:
    vocoder = small("hifigan_expressive")
    durations = torch.tensor([2, 1, 3])
    made = vocoder.synthesize([3, 4, 9], "bob", durations, pitches=[1, 0, 4], styles=[3, 3, 0], style="glad")
    given = {"pitches": [1, 1, 0, 4, 4, 4], "styles": [3, 3, 3, 0, 0, 0]}
    frames = vocoder.speak_frames([3, 3, 4, 9, 9, 9], 1, **given, style=1)
    torch.testing.assert_close(made, frames)
    vocoder.eval()
    units = torch.tensor([[3, 3, 4, 9, 9, 9]])
    codes = {name: torch.tensor([row]) for name, row in given.items()}
    expected = vocoder(units, torch.tensor([1]), **codes, global_styles=torch.tensor([1]))
    torch.testing.assert_close(made, expected[0].detach())
    assert len(vocoder.speak_frames([])) == 0


def test_missing_codes_are_the_commonest() -> None:
    vocoder = small("stft_expressive")
    durations = torch.tensor([2, 1, 3])
    expected = vocoder.synthesize([3, 4, 9], 0, durations, pitches=[1, 5, 5], styles=[2, 2, 2])
    assert torch.equal(vocoder.synthesize([3, 4, 9], 0, durations, pitches=[1, -1, -1]), expected)
    given = torch.tensor([1, -1, 5]), torch.tensor([-1, -1, -1])
    assert torch.equal(vocoder.synthesize([3, 4, 9], 0, durations, *given), expected)
    assert not torch.equal(vocoder.synthesize([3, 4, 9], 0, durations, pitches=[1, 0, 5]), expected)


def test_durations_do_not_depend_on_the_padding() -> None:
    vocoder = small("stft").eval()
    units = torch.randint(0, 10, (2, 9))
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    predicted = vocoder.predict_log_durations(units, mask)
    torch.testing.assert_close(predicted[1, :4], vocoder.predict_log_durations(units[1:, :4])[0])


def test_wrong_input_is_named() -> None:
    vocoder = small("stft")
    with pytest.raises(ValueError, match=r"units must be in \[0, 10\), but one is 10"):
        vocoder.synthesize([1, 10])
    with pytest.raises(ValueError, match="speaker must be one of ann, bob"):
        vocoder.synthesize([1], "eve")
    with pytest.raises(ValueError, match="durations must have shape"):
        vocoder.synthesize([1, 2], 0, durations=torch.tensor([1]))
    with pytest.raises(ValueError, match="style must be left out for a vocoder without global styles, but is glad"):
        vocoder.synthesize([1], style="glad")
    with pytest.raises(ValueError, match=r"style must be one of calm, glad or in \[0, 2\), but is 2"):
        small("hifigan").synthesize([1], style=2)
    with pytest.raises(ValueError, match="product of upsample_rates must be hop_length 640, but is 320"):
        HiFiGANConfig(upsample_rates=(5, 4, 4, 4))
    with pytest.raises(ValueError, match="upsampling must divide hop_length 640, but is 3"):
        replace(SMALL_STFT, upsampling=3)


def test_wrong_codes_are_named() -> None:
    vocoder = small("stft_expressive")
    units, speakers = torch.tensor([[1, 2]]), torch.tensor([0])
    with pytest.raises(ValueError, match="pitches must be given to an expressive vocoder, but is None"):
        vocoder(units, speakers)
    with pytest.raises(ValueError, match="styles must be given to an expressive vocoder, but is None"):
        vocoder(units, speakers, pitches=units)
    with pytest.raises(ValueError, match=r"pitches must be in \[0, 6\), but one is 6"):
        vocoder.synthesize([1, 2], pitches=[-1, 6])
    with pytest.raises(ValueError, match=r"styles must be in \[0, 4\), but one is -2"):
        vocoder.speak_frames([1, 2], styles=[0, -2])
    with pytest.raises(ValueError, match=r"pitches must have shape \(2,\), that of units, but have \(3,\)"):
        vocoder.synthesize([1, 2], pitches=[0, 0, 0])
    with pytest.raises(ValueError, match=r"both be at least 1 \(Expressive\), but are 6 and 0"):
        replace(SMALL_STFT, num_pitches=6)
    with pytest.raises(ValueError, match=r"default_style must be in \[0, 4\), but is 4"):
        replace(SMALL_STFT, num_pitches=6, num_styles=4, default_style=4)


@pytest.mark.parametrize("n_fft", [64, 56, 40])  # four hops, or a part of one more
def test_head_inverts_a_spectrogram(n_fft: int) -> None:
    """The overlap-add of the head is the inverse of a windowed short-time transform."""
    torch.manual_seed(0)
    head = InverseSTFTHead(4, n_fft=n_fft, hop=16)
    waveform = torch.randn(1, 16 * 20)
    border = (n_fft - 16) // 2
    padded = torch.nn.functional.pad(waveform, (border, border))
    spectrum = torch.fft.rfft(padded.unfold(-1, n_fft, 16) * head.window)  # (1, 20, n_fft / 2 + 1)
    wanted = torch.cat([spectrum.abs().clamp(min=1e-8).log(), spectrum.angle()], dim=-1)
    head.out = torch.nn.Identity()
    torch.testing.assert_close(head(wanted), waveform, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "discriminator",
    [
        MultiPeriodDiscriminator(channels=(2, 4)),
        MultiScaleDiscriminator(channels=128),
        SpectrogramDiscriminator(channels=4),
    ],
)
def test_discriminators_score_any_length(discriminator: torch.nn.Module) -> None:
    for samples in (6400, 6401):
        for output in discriminator(torch.randn(2, samples)):
            assert output.scores.shape[0] == 2 and output.scores.ndim == 2
            assert torch.isfinite(output.scores).all() and len(output.features) > 2
