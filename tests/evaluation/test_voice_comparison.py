"""Changes are those of the same sentences; encoders of voices tell timbres apart whatever their loudness."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForXVector

from spiritlm_pl.data.corpus_store import UnitUtterance
from spiritlm_pl.evaluation.classifiers import similarity
from spiritlm_pl.evaluation.expressivity import ExpressivityModels
from spiritlm_pl.evaluation.resyntheses import Resynthesis
from spiritlm_pl.evaluation.voice_comparison import AFTER, BEFORE, VoiceComparison, change
from spiritlm_pl.evaluation.voice_encoders import LongTermSpectrum, load_voice_encoder
from spiritlm_pl.f0.extractors import YIN

WORDS = {0.3: "the cat sat", 0.2: "the cat", 0.1: "a dog"}


def tone(pitch: float, loudness: float, tilt: float = 1.0) -> Tensor:
    """A tone with overtones, of which the higher ones are weaker with more tilt."""
    times = torch.arange(16_000) / 16_000
    parts = [torch.sin(2 * torch.pi * pitch * k * times) / k**tilt for k in range(1, 9)]
    wave = torch.stack(parts).sum(0)
    return loudness * wave / wave.abs().max()


def recogniser(waveform: Tensor) -> str:
    return WORDS[round(float(waveform.abs().max()), 1)]


def sentence(name: str, before: Tensor, after: Tensor) -> Resynthesis:
    empty = torch.zeros(0).numpy()
    tokens = UnitUtterance(id=name, corpus="c", units=empty, unit_starts=empty, num_frames=0, speaker="eve")
    return Resynthesis(tokens=tokens, text="the cat sat", original=tone(200, 0.3), made={BEFORE: before, AFTER: after})


def comparison() -> VoiceComparison:
    models = ExpressivityModels(extractor=YIN(), recognisers={"ear": recogniser}, speaker=LongTermSpectrum())
    return VoiceComparison(models)


def test_changes_are_those_of_the_same_sentences() -> None:
    compared = comparison()
    compared.add(sentence("a", tone(400, 0.1, 0.2), tone(200, 0.3)))  # 3 of 3 words wrong, then none
    compared.add(sentence("b", tone(400, 0.2, 0.2), tone(225, 0.2)))  # 1 of 3 in both
    report = compared.report()
    words = report.changes["words heard wrong (WER), %, ear"]
    assert words.before and words.after and words.change and words.original
    assert words.before.value == pytest.approx(100 * 4 / 6) and words.after.value == pytest.approx(100 / 6)
    assert words.change.value == pytest.approx(-50) and words.original.value == 0
    off = report.changes["mean F0 off, semitones"]
    assert off.before and off.after and off.change
    assert off.before.value == pytest.approx(12, abs=0.1) and off.after.value == pytest.approx(1.02, abs=0.05)
    assert off.change.value == pytest.approx(off.after.value - off.before.value)
    alike = report.changes["speaker similarity"]
    assert alike.change and alike.change.value > 0.05 and alike.original is not None
    assert report.figures()[AFTER]["F0 frame error"] < report.figures()[BEFORE]["F0 frame error"]
    table = report.table("Voice eve").markdown()
    assert "| words heard wrong (WER), %, ear (lower is better) | 66.7 (33.3 to 100.0) | 16.7 (0.0 to 33.3) |" in table


def test_the_same_speech_changes_nothing() -> None:
    compared = comparison()
    for name in "ab":
        compared.add(sentence(name, tone(200, 0.3), tone(200, 0.3)))
    changes = compared.report().changes
    assert all(one.change is None or one.change.value == pytest.approx(0, abs=1e-6) for one in changes.values())
    with pytest.raises(ValueError, match="held-out sentences must be at least one"):
        comparison().report()


def test_a_sentence_that_is_not_voiced_in_one_of_both_has_no_change() -> None:
    found = change({BEFORE: [(0.0, 0.0), (2.0, 1.0)], AFTER: [(9.0, 1.0), (1.0, 1.0)]}, "lower")
    assert found.before and found.after and found.change
    assert (found.before.value, found.after.value, found.change.value) == (2.0, 5.0, -1.0)
    assert (found.before.count, found.after.count, found.change.count) == (1, 2, 1)


def noise(tilt: float, loudness: float, seed: int = 0) -> Tensor:
    """Noise whose spectrum falls with the frequency, faster with more tilt."""
    white = torch.randn(32_000, generator=torch.Generator().manual_seed(seed))
    wave = torch.fft.irfft(torch.fft.rfft(white) / torch.arange(1, 16_002) ** tilt)
    return loudness * wave / wave.abs().max()


def test_long_term_spectra_hear_timbre_and_not_loudness() -> None:
    features = LongTermSpectrum().features
    own = features(noise(0.5, 0.3))
    quiet = similarity(own, features(noise(0.5, 0.05, seed=1)))
    pauses = similarity(own, features(torch.cat([noise(0.5, 0.3, seed=2), torch.zeros(16_000)])))
    other = similarity(own, features(noise(-0.5, 0.3)))
    assert quiet > 0.95 and pauses > 0.95 and other < 0.5
    assert not features(torch.zeros(100)).any() and features(torch.zeros(16_000)).isfinite().all()


def test_a_speaker_encoder_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_stride=(5, 4), conv_kernel=(10, 8), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, tdnn_dim=(8, 8, 8), tdnn_kernel=(5, 3, 1), tdnn_dilation=(1, 2, 1),
        xvector_output_dim=6, vocab_size=4,
    )  # fmt: skip
    Wav2Vec2ForXVector(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path)
    features = load_voice_encoder("speaker_encoder", tmp_path).features
    one, other = features(tone(200, 0.3)), features(tone(300, 0.3, tilt=0.1))
    assert one.shape == (6,) and similarity(one, other) < similarity(one, features(tone(200, 0.1))) <= 1 + 1e-9
    assert features(tone(200, 0.3)[:800]).isfinite().all()
    with pytest.raises(ValueError, match=r"speaker_encoder must be a folder .*nothing is not there"):
        load_voice_encoder("speaker_encoder", tmp_path / "nothing")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match="speaker_encoder must be a folder of transformers with an x-vector head"):
        load_voice_encoder("speaker_encoder", tmp_path)
