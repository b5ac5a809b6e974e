"""F0: the release's values, known pitches, audio without voice, and what the VQ-VAE reads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from torchaudio.functional import resample

from spiritlm_pl.corpora.espeak import Voice, speaker
from spiritlm_pl.speech.f0 import FCPE, YAAPT, YIN, F0Extractor, TorchaudioF0, contour, num_frames

GOLDEN = np.load(Path(__file__).parent.parent / "data" / "f0.npz")


@pytest.fixture(scope="module", params=[FCPE, YAAPT, YIN, TorchaudioF0])
def extractor(request: pytest.FixtureRequest) -> F0Extractor:
    made: F0Extractor = request.param()
    return made


def spoken(pitch: int) -> torch.Tensor:
    speech = speaker().speak("the fox carried the golden lamp", Voice("en-us", 180, pitch=pitch))
    return resample(torch.from_numpy(speech.samples / 32768).float(), speech.sample_rate, 16_000)


@pytest.mark.parametrize("name", ["w05", "n1999"])
def test_fcpe_gives_the_release_values(name: str) -> None:
    waveform = torch.from_numpy(GOLDEN[name])
    f0, voiced = FCPE()(waveform[None], torch.tensor([len(waveform)]))
    torch.testing.assert_close(f0[0], torch.from_numpy(GOLDEN[f"{name}_f0"]), atol=0.01, rtol=0)
    assert voiced[0].tolist() == (GOLDEN[f"{name}_voicing"] > 0).tolist()


def test_higher_speech_has_a_higher_f0(extractor: F0Extractor) -> None:
    low, high = spoken(20), spoken(80)
    waveforms, lengths = pad_sequence([low, high], batch_first=True), torch.tensor([len(low), len(high)])
    f0, voiced = extractor(waveforms, lengths)
    assert f0.shape == voiced.shape == (2, num_frames(waveforms.shape[1]))
    medians = [f0[row][voiced[row]].median() for row in range(2)]
    assert medians[1] > (1.1 if isinstance(extractor, TorchaudioF0) else 1.3) * medians[0]
    assert 0.25 < voiced[0, : num_frames(len(low))].float().mean() < 0.95
    shorter = int(lengths.argmin())
    end = num_frames(int(lengths.min()))
    assert (f0[shorter, end:] == 0).all() and not voiced[shorter, end:].any()
    assert (f0[shorter, :end] > 0).all()  # lines are drawn over unvoiced frames


@pytest.mark.parametrize("num_samples", [1, 160, 1264, 16_000])
def test_audio_without_voice_is_valid(extractor: F0Extractor, num_samples: int) -> None:
    f0, voiced = extractor(torch.zeros(2, num_samples), torch.tensor([num_samples, max(1, num_samples // 2)]))
    assert f0.shape == (2, num_frames(num_samples)) and (f0 == 0).all() and not voiced.any()
    assert (contour(f0, voiced) == 0).all()


@pytest.mark.parametrize("name", ["interp397", "zeros160", "unvoiced_zero64"])
def test_contours_of_the_release(name: str) -> None:
    f0, voicing = (torch.from_numpy(GOLDEN[f"{name}_{key}"])[None] for key in ("f0", "vuv"))
    torch.testing.assert_close(contour(f0, voicing > 0)[0], torch.from_numpy(GOLDEN[f"{name}_x"]), atol=1e-4, rtol=0)


def test_the_mean_of_the_speaker_is_subtracted_where_it_is_known() -> None:
    f0, voiced = torch.tensor([[100.0, 120.0], [100.0, 120.0]]), torch.tensor([[True, True]] * 2)
    found = contour(f0, voiced, torch.tensor([90.0, torch.nan]))
    assert found[:, 0].tolist() == [[10.0, 30.0], [-10.0, 10.0]]
