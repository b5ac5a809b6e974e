"""The expressive tokenizer: three kinds from any audio, from a folder, over a corpus."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from spiritlm_pl.cli.main import run
from spiritlm_pl.contracts.speech_tokenizer import FeatureExtractor
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.streams import PITCH, STYLE, SpeechLayout
from spiritlm_pl.tokenizers.expressive import ExpressiveTokenizer, KnownF0, load_tokenizer, speech_fingerprint
from spiritlm_pl.tokenizers.features import MFCCConfig
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.mlp_quantizer import LinearQuantizer, LinearQuantizerConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAE, PitchVQVAEConfig
from spiritlm_pl.tokenizers.style import StyleEncoder

LAYOUT = SpeechLayout.spirit_lm(num_units=8, frame_rate=25.0, num_pitches=6, num_styles=5)


def kmeans(num_units: int) -> KMeans:
    network = KMeans(KMeansConfig(num_units=num_units, feature_dim=39))
    with torch.no_grad():
        network.centroids.copy_(torch.randn(num_units, 39))
    return network


def make_parts(folder: Path) -> list[str]:
    """Random networks: a phonetic, a pitch and a style tokenizer."""
    torch.manual_seed(0)
    PhoneticTokenizer(MFCCConfig().build(), kmeans(8)).save(folder / "phonetic")
    pitch = PitchVQVAE(PitchVQVAEConfig(num_codes=6, dim=4, width=4, depth=1))
    with torch.no_grad():
        pitch.codebook.codes.copy_(torch.randn(6, 4) * 20)
    save_network(folder / "pitch", pitch, "pitch")
    extractor: Any = StyleEncoder.on(MFCCConfig(normalize=False).build(), projection_dim=4, normalize=False)
    quantizer = LinearQuantizer(LinearQuantizerConfig(num_units=5, feature_dim=4))
    assert isinstance(extractor, FeatureExtractor)
    PhoneticTokenizer(extractor, quantizer).save(folder / "style")
    return [str(folder / name) for name in ("phonetic", "pitch", "style")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("tokenizers")
    run(["join-tokenizers", *make_parts(base), str(base / "joined"), "--f0=yin"])
    return base / "joined"


def hum(seconds: float, pitch: float = 150.0) -> torch.Tensor:
    time = torch.arange(round(seconds * 16_000)) / 16_000
    return 0.3 * sum((torch.sin(2 * torch.pi * pitch * k * time) / k for k in range(1, 6)), torch.zeros(()))


def test_three_kinds_at_their_rates(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    assert isinstance(tokenizer, ExpressiveTokenizer) and tokenizer.layout == LAYOUT
    waveforms = torch.zeros(2, 40_000)
    waveforms[0], waveforms[1, :24_000] = hum(2.5), hum(1.5)
    first, second = tokenizer.encode(waveforms, torch.tensor([40_000, 24_000]))
    assert (first.num_frames, len(first.codes[PITCH]), len(first.codes[STYLE])) == (62, 31, 3)
    (alone,) = tokenizer.encode(waveforms[1:, :24_000], torch.tensor([24_000]))
    for name in ("values", "starts"):
        assert torch.equal(getattr(alone, name), getattr(second, name))
    assert list(alone.codes) == list(second.codes) == [PITCH, STYLE]
    assert all(torch.equal(alone.codes[name], second.codes[name]) for name in (PITCH, STYLE))


def test_long_audio_has_its_codes_at_their_places(folder: Path) -> None:
    """Units and styles of what is longer than a chunk are made chunk by chunk, here of 4 s."""
    tokenizer = load_tokenizer(folder)
    assert isinstance(tokenizer, ExpressiveTokenizer)
    tokenizer.phonetic.chunk_seconds = tokenizer.style.chunk_seconds = 4.0
    waveform = torch.cat([hum(8.0), 0.1 * torch.randn(12 * 16_000, generator=torch.Generator().manual_seed(0))])
    (units,) = tokenizer.encode(waveform[None], torch.tensor([len(waveform)]))
    assert (units.num_frames, len(units.codes[PITCH]), len(units.codes[STYLE])) == (500, 250, 20)
    (hummed,) = tokenizer.encode(waveform[None, : 8 * 16_000], torch.tensor([8 * 16_000]))
    assert torch.equal(hummed.frames(), units.frames()[:200]) and torch.equal(
        hummed.codes[STYLE], units.codes[STYLE][:8]
    )


@pytest.mark.parametrize("kind", ["music", "silence", "noise", "10 ms", "79 ms", "30 Hz", "2 kHz", "one sample"])
def test_any_audio_has_valid_codes(folder: Path, kind: str) -> None:
    waveform = {
        "music": sum((hum(1.0, pitch) for pitch in (220.0, 277.2, 329.6)), torch.zeros(())) / 3,
        "silence": torch.zeros(16_000),
        "noise": 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(0)),
        "10 ms": hum(0.010),
        "79 ms": hum(0.079),
        "30 Hz": hum(1.0, 30.0),
        "2 kHz": hum(1.0, 2_000.0),
        "one sample": torch.ones(1),
    }[kind]
    (units,) = load_tokenizer(folder).encode(waveform[None], torch.tensor([len(waveform)]))
    for name, size in ((PITCH, 6), (STYLE, 5)):
        codes = units.codes[name]
        assert len(codes) >= 1 and 0 <= int(codes.min()) <= int(codes.max()) < size


def test_known_f0_and_speaker_means_are_used(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    assert isinstance(tokenizer, ExpressiveTokenizer)
    waveform, lengths = hum(1.0)[None], torch.tensor([16_000])
    f0, voiced = tokenizer.pitch.extract(waveform, lengths)
    (own,) = tokenizer.encode(waveform, lengths)
    (unknown,) = tokenizer.encode(waveform, lengths, KnownF0(f0, voiced, torch.tensor([float("nan")])))
    (high,) = tokenizer.encode(waveform, lengths, KnownF0(f0, voiced, torch.tensor([50.0])))
    assert torch.equal(own.codes[PITCH], unknown.codes[PITCH])
    assert not torch.equal(own.codes[PITCH], high.codes[PITCH])


def test_the_fingerprint_hangs_on_every_part(folder: Path, tmp_path: Path) -> None:
    known = speech_fingerprint(folder)
    for name in ("pitch/model.safetensors", "style/quantizer/config.json", "expressive.json", "config.json"):
        copy = tmp_path / name.replace("/", "-")
        shutil.copytree(folder, copy)
        path = copy / name
        (path.parent / CHECKSUMS).unlink()  # on purpose
        if path.suffix == ".json":
            path.write_text(path.read_text().replace("yin", "fcpe").replace('"num_units": 5', '"num_units": 6')
                            .replace("100.0", "50.0"))  # fmt: skip
        else:
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
        assert speech_fingerprint(copy) != known, name


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    phonetic, pitch, style = make_parts(tmp_path)
    out = str(tmp_path / "out")
    with pytest.raises(ValueError, match="STYLE must give 1 codes per second, but gives 25 instead"):
        run(["join-tokenizers", phonetic, pitch, phonetic, out])
    with pytest.raises(ValueError, match="checkpoint must be of stage 'pitch'"):
        run(["join-tokenizers", phonetic, f"{phonetic}/quantizer", style, out])
    narrow = str(tmp_path / "narrow")
    PhoneticTokenizer(MFCCConfig(sample_rate=8_000).build(), kmeans(8)).save(narrow)
    with pytest.raises(ValueError, match="PHONETIC must take 16000 samples per second, as F0 does, but takes 8000"):
        run(["join-tokenizers", narrow, pitch, style, out])
    slow = PitchVQVAE(PitchVQVAEConfig(num_codes=6, dim=4, width=4, depth=1, downsamplings=5))
    save_network(pitch, slow, "pitch")
    with pytest.raises(ValueError, match="PITCH must give 12.5 codes per second, but gives 6.25 instead"):
        run(["join-tokenizers", phonetic, pitch, style, out])
    assert not Path(out).exists()


def predict(folder: Path, corpus: Path, out: Path, *options: str) -> UnitCorpus:
    run(
        [
            *("predict", "--model=spiritlm_pl.modules.tokenize.TokenizeModule"),
            f"--model.init_args.tokenizer={folder}",
            "--data=spiritlm_pl.datamodules.speech.WaveformDataModule",
            f"--data.init_args.corpora=[{corpus}]",
            *options,
            *("--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false"),
            f"--trainer.default_root_dir={out}/run",
            '--trainer.callbacks=[{"class_path": "spiritlm_pl.callbacks.write_units.WriteUnits",'
            f' "init_args": {{"folder": "{out}"}}}}]',
        ]
    )
    split = "train" if "--data.init_args.predict_splits=[train]" in options else "test"
    return UnitCorpus(out / corpus.name, split)


def test_a_corpus_is_tokenised_with_f0_that_is_at_hand(folder: Path, make_corpus: Any, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "tones", train=4, held_out=2)
    option = "--data.init_args.f0_name=yin"
    with pytest.raises(FileNotFoundError, match=r"F0 must have been extracted \(`spiritlm extract-f0 .*tones --name"):
        predict(folder, corpus, tmp_path / "none", option)
    run(["extract-f0", str(corpus), "--extractor=yin"])
    stored = predict(folder, corpus, tmp_path / "stored", option)
    assert stored.layout == LAYOUT
    fresh = predict(folder, corpus, tmp_path / "fresh")
    for one, other in zip(stored, fresh, strict=True):
        assert one.units.tolist() == other.units.tolist()
        assert one.codes[STYLE].tolist() == other.codes[STYLE].tolist()
        assert len(one.codes[PITCH]) == len(other.codes[PITCH])


def test_other_f0_gives_other_codes_in_the_same_folder(folder: Path, make_corpus: Any, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "tones", train=4, held_out=2)
    run(["extract-f0", str(corpus), "--extractor=yin"])
    own = [u.codes[PITCH].tolist() for u in predict(folder, corpus, tmp_path / "units")]  # less each utterance's mean
    option = "--data.init_args.f0_name=yin"
    speakers = predict(folder, corpus, tmp_path / "units", option)
    expected = [u.codes[PITCH].tolist() for u in predict(folder, corpus, tmp_path / "fresh", option)]
    assert [u.codes[PITCH].tolist() for u in speakers] == expected != own
    assert speakers.manifest["provenance"]["f0_sha256"]


def test_what_cannot_be_read_or_has_no_f0_is_skipped(folder: Path, make_corpus: Any, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "tones", train=4, held_out=2)
    run(["extract-f0", str(corpus), "--extractor=yin"])
    lost, silent = (corpus / "audio" / f"tones-test-{index}.wav" for index in range(2))
    with (corpus / "f0" / "yin" / "skipped.jsonl").open("a") as stream:
        stream.write(json.dumps({"id": silent.stem, "path": str(silent), "reason": "too loud"}) + "\n")
    lost.unlink()
    options = ("--data.init_args.f0_name=yin", "--data.init_args.batch_seconds=0.5")  # alone in a batch
    with pytest.raises(FileNotFoundError, match="it has no F0: too loud|no such file|does not exist"):
        predict(folder, corpus, tmp_path / "units", *options, "--data.init_args.predict_splits=[test]")
    (corpus / "audio" / "tones-train-1.wav").unlink()
    broken = corpus / "audio" / "tones-train-2.wav"
    samples = soundfile.read(broken, dtype="float32")[0]
    soundfile.write(broken, np.where(np.arange(len(samples)) == 99, np.nan, samples), 16_000, subtype="FLOAT")
    units = predict(folder, corpus, tmp_path / "units", *options, "--data.init_args.predict_splits=[train]")
    assert len(units) == 2 and all(PITCH in utterance.codes for utterance in units)
    assert (
        "audio must be finite, but has NaN"
        in (tmp_path / "units" / corpus.name / "train" / "skipped.jsonl").read_text()
    )
