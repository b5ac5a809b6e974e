import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from spiritlm_pl.tokenizers.features import MFCCConfig, MFCCFeatures
from spiritlm_pl.tokenizers.mel_spectrum import mel_magnitudes, mel_powers
from spiritlm_pl.vocoder.mel import LogMel


@pytest.mark.parametrize("window", [400, 512])
def test_powers_are_torchaudios(window: int) -> None:
    torch.manual_seed(0)
    waveforms = torch.randn(3, 4_000)
    transform = MelSpectrogram(16_000, 512, window, 160, n_mels=40, center=False)
    torch.testing.assert_close(
        mel_powers(transform, waveforms), transform(waveforms).transpose(1, 2), rtol=1e-4, atol=1e-4
    )


def test_magnitudes_and_their_gradients_are_torchaudios() -> None:
    torch.manual_seed(0)
    waveforms = torch.randn(2, 4_000, requires_grad=True)
    transform = MelSpectrogram(16_000, 1024, hop_length=256, n_mels=40, center=False, power=1.0)
    ours, theirs = mel_magnitudes(transform, waveforms), transform(waveforms).transpose(1, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    weights = torch.randn_like(ours)
    (gradient,) = torch.autograd.grad((ours * weights).sum(), waveforms)
    (expected,) = torch.autograd.grad((theirs * weights).sum(), waveforms)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-3)


def test_silence_has_a_gradient_of_zero() -> None:
    silence = torch.zeros(1, 4_000, requires_grad=True)
    LogMel()(silence).sum().backward()
    assert silence.grad is not None and bool((silence.grad == 0).all())


def test_cepstra_are_torchaudios() -> None:
    torch.manual_seed(0)
    features = MFCCFeatures(MFCCConfig(frame_rate=100.0, normalize=False))
    waveforms = torch.randn(2, 8_000)
    found, _ = features(waveforms, torch.tensor([8_000, 8_000]))
    border = (features.fft_size - features.step) // 2
    expected = features.mfcc(torch.nn.functional.pad(waveforms, (border, border))).transpose(1, 2)
    torch.testing.assert_close(found[..., :13], expected[:, : found.shape[1]], rtol=1e-3, atol=1e-3)
