"""F0: the release's values, known pitches, audio without voice, and what the VQ-VAE reads."""

import copy

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from torchaudio.functional import bandpass_biquad, resample

from spiritlm_pl.corpora.synthetic.espeak import Voice, speaker
from spiritlm_pl.f0.contour import contour
from spiritlm_pl.f0.extractors import YAAPT, YIN, TorchaudioF0
from spiritlm_pl.f0.fcpe import FCPE
from spiritlm_pl.f0.frames import F0_MAX, F0_MIN, F0Extractor, num_frames
from spiritlm_pl.runtime.packed_linear import has_products


@pytest.fixture(scope="module", params=[FCPE, YAAPT, YIN, TorchaudioF0])
def extractor(request: pytest.FixtureRequest) -> F0Extractor:
    made: F0Extractor = request.param()
    return made


def spoken(pitch: int) -> torch.Tensor:
    speech = speaker().speak("the fox carried the golden lamp", Voice("en-us", 180, pitch=pitch))
    return resample(torch.from_numpy(speech.samples / 32768).float(), speech.sample_rate, 16_000)


def test_higher_speech_has_a_higher_f0(extractor: F0Extractor) -> None:
    # eSpeak NG never says a sentence twice in the same way, and torchaudio's extractor is rough: several of each
    speech = [spoken(pitch) for pitch in (20, 80) for _ in range(6)]
    waveforms, lengths = pad_sequence(speech, batch_first=True), torch.tensor([len(part) for part in speech])
    f0, voiced = extractor(waveforms, lengths)
    assert f0.shape == voiced.shape == (12, num_frames(waveforms.shape[1]))
    medians = [f0[rows][voiced[rows]].median() for rows in (slice(0, 6), slice(6, 12))]
    assert medians[1] > (1.1 if isinstance(extractor, TorchaudioF0) else 1.3) * medians[0]
    assert 0.25 < voiced[0, : num_frames(len(speech[0]))].float().mean() < 0.95
    shorter = int(lengths.argmin())
    end = num_frames(int(lengths.min()))
    assert (f0[shorter, end:] == 0).all() and not voiced[shorter, end:].any()
    assert (f0[shorter, :end] > 0).all()  # lines are drawn over unvoiced frames


@pytest.mark.parametrize("num_samples", [1, 160, 1264, 16_000])
def test_audio_without_voice_is_valid(extractor: F0Extractor, num_samples: int) -> None:
    f0, voiced = extractor(torch.zeros(2, num_samples), torch.tensor([num_samples, max(1, num_samples // 2)]))
    assert f0.shape == (2, num_frames(num_samples)) and (f0 == 0).all() and not voiced.any()
    assert (contour(f0, voiced) == 0).all()


def whisper(num_samples: int) -> torch.Tensor:
    """Noise through three formants, four syllables a second."""
    noise = torch.randn(num_samples, generator=torch.Generator().manual_seed(0))
    formants = sum(bandpass_biquad(0.2 * noise, 16_000, hertz, Q=5.0) for hertz in (600.0, 1500.0, 2600.0))
    return formants * (0.5 + 0.5 * torch.sin(2 * torch.pi * 4 * torch.arange(num_samples) / 16_000))


def tone(hertz: float, num_samples: int = 16_000) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(num_samples) / 16_000)


NOT_VOICED = {
    "noise": 0.3 * torch.randn(16_000, generator=torch.Generator().manual_seed(0)),
    "whisper": whisper(16_000),
    "30 Hz": tone(30),
    "offset": torch.full((16_000,), 0.5),
}


@pytest.mark.parametrize("name", NOT_VOICED)
def test_noise_and_tones_below_any_voice_are_not_voiced(extractor: F0Extractor, name: str) -> None:
    f0, voiced = extractor(NOT_VOICED[name][None], torch.tensor([16_000]))
    assert voiced.float().mean() < (0.6 if isinstance(extractor, YAAPT) else 0.02)  # YAAPT hears voice in noise
    assert (f0[voiced] >= F0_MIN).all() and (f0[voiced] <= F0_MAX).all() and contour(f0, voiced).isfinite().all()


@pytest.mark.parametrize("num_samples", [160, 1264, 16_000])
@pytest.mark.parametrize("hertz", [200.0, 2000.0])
def test_f0_stays_in_its_range_at_any_length(extractor: F0Extractor, hertz: float, num_samples: int) -> None:
    f0, voiced = extractor(tone(hertz, num_samples)[None], torch.tensor([num_samples]))
    assert f0.shape == voiced.shape == (1, num_frames(num_samples))
    assert (f0[voiced] >= F0_MIN).all() and (f0[voiced] <= F0_MAX).all() and contour(f0, voiced).isfinite().all()
    if (hertz, num_samples) == (200.0, 16_000):
        assert voiced.float().mean() > 0.9


def test_long_audio_in_pieces(extractor: F0Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = torch.cat([spoken(40), spoken(60), spoken(50)])
    lengths = torch.tensor([len(speech)])
    whole, whole_voiced = extractor(speech[None], lengths)
    monkeypatch.setattr("spiritlm_pl.f0.frames.PIECE", 32_000)
    asked: list[int] = []

    def counting(name: str) -> None:
        extract = getattr(extractor, name)

        def counted(given: torch.Tensor | list[torch.Tensor]) -> object:
            asked.extend(len(waveform) for waveform in (given if isinstance(given, list) else [given]))
            return extract(given)

        monkeypatch.setattr(extractor, name, counted)

    counting({FCPE: "_extract", YAAPT: "_row"}.get(type(extractor), "row"))
    f0, voiced = extractor(speech[None], lengths)
    assert len(asked) == -(-len(speech) // 32_000) and max(asked) <= 64_000
    assert f0.shape == whole.shape and (voiced == whole_voiced).float().mean() > 0.97
    both = voiced & whole_voiced
    assert ((f0 / whole)[both].log2().abs() < 1 / 24).float().mean() > 0.95  # half a semitone


def test_the_mean_of_the_speaker_is_subtracted_where_it_is_known() -> None:
    f0, voiced = torch.tensor([[100.0, 120.0], [100.0, 120.0]]), torch.tensor([[True, True]] * 2)
    found = contour(f0, voiced, torch.tensor([90.0, torch.nan]))
    assert found[:, 0].tolist() == [[10.0, 30.0], [-10.0, 10.0]]


def test_fcpe_gives_the_same_in_a_batch_with_padding() -> None:
    voices = [spoken(20), spoken(80)[:11_111], tone(200.0, 3_000), torch.zeros(500)]
    batch, lengths = pad_sequence(voices, batch_first=True), torch.tensor([len(voice) for voice in voices])
    alone, together = FCPE(batch_seconds=0.0), FCPE(batch_seconds=60.0)
    for row, voice in enumerate(voices):
        f0, voiced = alone(voice[None], lengths[row : row + 1])
        found, found_voiced = (values[row, : f0.shape[1]] for values in together(batch, lengths))
        torch.testing.assert_close(found, f0[0], rtol=1e-4, atol=0.01)
        assert torch.equal(found_voiced, voiced[0])


def test_fcpe_can_be_copied() -> None:
    waveforms = 0.1 * torch.sin(torch.arange(8_000) * 0.08)[None]  # 204 Hz
    extractor, lengths = FCPE(), torch.tensor([8_000])
    for _ in range(2):  # before the first call, and after it
        found = copy.deepcopy(extractor)(waveforms, lengths)
        for one, other in zip(found, extractor(waveforms, lengths), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("native", [True, False])
def test_fcpe_in_bfloat16_hears_the_same_f0(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritlm_pl.f0.fcpe.cpu_has_bfloat16", lambda: native)
    exact, half = FCPE(), FCPE()
    half.use_bfloat16()
    kinds = {weight.dtype for weight in half.parameters()}
    native = native and has_products(torch.bfloat16)
    assert kinds == ({torch.float32, torch.bfloat16} if native else {torch.float32})
    for voice in (spoken(20), spoken(80), tone(200.0)):
        (f0, voiced), (found, found_voiced) = (one(voice[None], torch.tensor([len(voice)])) for one in (exact, half))
        both = voiced & found_voiced
        assert (voiced == found_voiced).float().mean() > 0.98
        assert 1200 * (found / f0)[both].log2().abs().mean() < 1.0  # cents
        assert torch.equal(found, f0) is not native
    copied = copy.deepcopy(half)(voice[None], torch.tensor([len(voice)]))
    assert torch.equal(copied[0], found)
