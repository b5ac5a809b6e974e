"""The published speech tokenizers with our code: the same features, units, codes and strings."""

import re
import sys
import types
from dataclasses import replace
from typing import Any

import pytest
import torch

from spiritlm_pl.contracts.speech_tokenizer import Units
from spiritlm_pl.data.merge import speech_stream
from spiritlm_pl.f0.contour import contour
from spiritlm_pl.generation import Speech
from spiritlm_pl.generation.codec import SpeechCodec
from spiritlm_pl.generation.stream import speech_string
from spiritlm_pl.interop.release.layout import HUBERT, PITCH, QUANTIZER, STYLE
from spiritlm_pl.interop.release.pitch import read_pitch
from spiritlm_pl.interop.release.quantizer import read_quantizer
from spiritlm_pl.interop.release.speech import read_tokenizer
from spiritlm_pl.tokenizers.expressive import ExpressiveTokenizer, KnownF0, load_tokenizer
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAE
from spiritlm_pl.vocabulary import Vocabulary

WAVES = ("w05", "w23", "w50", "min1280", "n1999", "n20479", "offset", "noise", "silence", "stereo")
VOCABULARIES = {"base": Vocabulary(), "expressive": Vocabulary.spirit_lm(num_pitches=64, num_styles=100)}
CASES = range(28)


@pytest.fixture(scope="module")
def expressive(golden: Any) -> ExpressiveTokenizer:
    tokenizer = read_tokenizer(golden.release, "expressive")
    assert isinstance(tokenizer, ExpressiveTokenizer)
    return tokenizer


@pytest.fixture(scope="module")
def vqvae(golden: Any) -> PitchVQVAE:
    return read_pitch(golden.release.speech / PITCH)


@pytest.mark.parametrize("name", WAVES)
def test_same_features_and_units(golden: Any, expressive: ExpressiveTokenizer, name: str) -> None:
    wanted = golden.arrays("hubert")
    features, counts = expressive.phonetic.extractor(*golden.wave(name))
    torch.testing.assert_close(features[0], wanted[f"{name}_dense"], atol=3e-4, rtol=0)
    assert (features.shape[1], int(counts)) == (len(wanted[f"{name}_dense"]),) * 2
    assert expressive.phonetic.quantizer(features, counts)[0].tolist() == wanted[f"{name}_units"].tolist()


def test_a_batch_is_tokenized_as_its_rows(golden: Any, expressive: ExpressiveTokenizer) -> None:
    waves = [golden.waves[name] for name in ("w05", "n20479", "w23", "min1280")]
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    together = expressive.encode(padded, torch.tensor([len(wave) for wave in waves]))
    for wave, found in zip(waves, together, strict=True):
        alone = expressive.encode(wave[None], torch.tensor([len(wave)]))[0]
        assert found.frames().tolist() == alone.frames().tolist()
        assert found.codes["pitch"].tolist() == alone.codes["pitch"].tolist()


@pytest.mark.parametrize("number", range(8))
def test_blanks_take_the_unit_on_their_left_in_a_circle(golden: Any, number: int) -> None:
    quantizer = read_quantizer(golden.release.speech / QUANTIZER)
    wanted = golden.arrays("quantizer")
    features, lengths = wanted[f"q{number}_x"][None], torch.tensor([len(wanted[f"q{number}_x"])])
    assert quantizer.logits(features)[0].argmax(-1).tolist() == wanted[f"q{number}_raw"].tolist()
    if bool((wanted[f"q{number}_raw"] == quantizer.blank).all()):  # there, the release keeps blanks
        assert bool((quantizer(features, lengths) < quantizer.blank).all())
    else:
        assert quantizer(features, lengths)[0].tolist() == wanted[f"q{number}_units"].tolist()
    if number == 0:
        found = quantizer.logits(features)[0].log_softmax(-1)
        torch.testing.assert_close(found, wanted["q0_logprobs"], atol=1e-4, rtol=0)


def test_the_circle_does_not_go_through_other_rows(golden: Any) -> None:
    quantizer = read_quantizer(golden.release.speech / QUANTIZER)
    wanted = golden.arrays("quantizer")
    features, raw = wanted["batch_x"], wanted["batch_raw"]
    found = quantizer(features, torch.full((len(features),), features.shape[1]))
    alone = [quantizer(row[None], torch.tensor([len(row)]))[0] for row in features]
    assert found.tolist() == [row.tolist() for row in alone]
    first_is_blank = raw[:, 0] == quantizer.blank
    assert bool(first_is_blank.any()) and not torch.equal(found, wanted["batch_units"])  # there, it does
    assert torch.equal(found[~first_is_blank], wanted["batch_units"][~first_is_blank])


@pytest.mark.parametrize("name", ["interp397", "zeros160", "short31", "softvuv480", "unvoiced_zero64"])
def test_same_pitch_codes_and_contours(golden: Any, vqvae: PitchVQVAE, name: str) -> None:
    wanted = golden.arrays("f0")
    x = wanted[f"{name}_x"].float()
    f0, voicing = (wanted[f"{name}_{key}"].float()[None] for key in ("f0", "vuv"))
    if name != "softvuv480":  # voicing is yes or no here
        torch.testing.assert_close(contour(f0, voicing > 0)[0], x, atol=1e-4, rtol=0)
    codes = vqvae.encode(x[None])
    assert codes[0].tolist() == wanted[f"{name}_codes"].tolist()
    latents = vqvae.latents(x[None])[0].detach().double()
    distances = (latents[:, None] - vqvae.codebook.codes.double()).square().sum(-1).sort(1).values  # (T, K)
    margin = wanted[f"{name}_margin"].double()
    torch.testing.assert_close(distances[:, 1] - distances[:, 0], margin, atol=0.05, rtol=1e-4)
    torch.testing.assert_close(vqvae.decode(codes)[0], wanted[f"{name}_recon"].float(), atol=5e-3, rtol=0)


@pytest.mark.parametrize("name", ["w05", "w23", "w50", "min1280", "n1999", "n20479", "offset"])
def test_same_f0_and_codes_of_waveforms(golden: Any, expressive: ExpressiveTokenizer, name: str) -> None:
    wanted = golden.arrays("f0")
    waveforms, lengths = golden.wave(name)
    f0, voiced = expressive.pitch.extract(waveforms, lengths)
    torch.testing.assert_close(f0[0], wanted[f"fcpe_{name}_f0"].float(), atol=0.01, rtol=0)
    assert torch.equal(voiced[0], wanted[f"fcpe_{name}_vuv"] > 0)
    assert expressive.pitch.encode(f0, voiced, lengths)[0].tolist() == wanted[f"fcpe_{name}_codes"].tolist()


@pytest.mark.parametrize("folder", [STYLE, "style_encoder_w2v2_newkeys"])
def test_same_style(golden: Any, expressive: ExpressiveTokenizer, folder: str, tmp_path: Any) -> None:
    from spiritlm_pl.interop.release.style import WEIGHTS, read_style

    source = golden.release.speech / STYLE
    if folder != STYLE:  # newer files name the two parts of a weight otherwise
        weights = torch.load(source / WEIGHTS, weights_only=True)
        for old, new in (
            ("weight_g", "parametrizations.weight.original0"),
            ("weight_v", "parametrizations.weight.original1"),
        ):
            for name in [name for name in weights if name.endswith(old)]:
                weights[name.replace(old, new)] = weights.pop(name)
        torch.save(weights, tmp_path / WEIGHTS)
        (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
        source = tmp_path
    style: Any = read_style(source)
    wanted = golden.arrays("style")
    for name in [key.removesuffix("_tokens") for key in wanted if key.endswith("_tokens")]:
        features, counts = style.extractor(*golden.wave(name))
        torch.testing.assert_close(features[0], wanted[f"{name}_pooled"], atol=1e-4, rtol=0)
        torch.testing.assert_close(style.quantizer.layer(features)[0], wanted[f"{name}_logits"], atol=1e-4, rtol=0)
        assert style.quantizer(features, counts)[0].tolist() == wanted[f"{name}_tokens"].tolist()


def string(units: Units, tokenizer: PhoneticTokenizer | ExpressiveTokenizer, vocabulary: Vocabulary) -> str:
    codes = {name: values.numpy() for name, values in units.codes.items()}
    found = speech_stream(units.values.numpy(), units.starts.numpy(), codes, tokenizer.layout, vocabulary)
    return "".join(str(vocabulary.name(token)) for token in found.ids(vocabulary).tolist())


@pytest.mark.parametrize("number", CASES)
def test_same_tokens_from_waveforms(golden: Any, expressive: ExpressiveTokenizer, number: int) -> None:
    case = golden.described("tokenizer_e2e")["cases"][number]
    waveform = golden.waves[case["wave"]]
    if waveform.ndim == 2:
        waveform = waveform.mean(0) if case["channel_id"] is None else waveform[case["channel_id"]]
    phonetic = PhoneticTokenizer(
        expressive.phonetic.extractor,
        expressive.phonetic.quantizer,
        chunk_seconds=case["max_wav_chunk"] / 16_000,
        shortest=expressive.phonetic.shortest,
    )
    tokenizer: Any = phonetic
    if case["tokenizer"] == "expressive":
        tokenizer = ExpressiveTokenizer(phonetic, expressive.pitch, expressive.style, together=True)
    units = tokenizer.encode(waveform[None], torch.tensor([len(waveform)]))[0]
    found = {"hubert": units.frames(), **units.codes}
    for kind, wanted in case["units"].items():
        assert found[kind].tolist() == [*map(int, wanted.split())]
    if "string" in case:
        assert string(units, tokenizer, VOCABULARIES[case["tokenizer"]]) == case["string"]


@pytest.mark.parametrize("variant", ["base", "expressive"])
def test_a_saved_tokenizer_gives_the_same(golden: Any, tmp_path: Any, variant: Any) -> None:
    tokenizer = read_tokenizer(golden.release, variant)
    read = load_tokenizer(tokenizer.save(tmp_path / "tokenizer"))
    assert read.layout == tokenizer.layout
    one, other = tokenizer.encode(*golden.wave("w23"))[0], read.encode(*golden.wave("w23"))[0]
    assert string(one, tokenizer, VOCABULARIES[variant]) == string(other, read, VOCABULARIES[variant])
    assert not read.encode(*golden.wave("short1279"))[0].num_frames  # less than a pitch code


def test_half_precision_keeps_pitch_and_most_units(golden: Any, expressive: ExpressiveTokenizer) -> None:
    vocabulary = VOCABULARIES["expressive"]
    whole, half = (
        SpeechCodec(vocabulary, expressive, half=half).encode(Speech(golden.waves["w50"])) for half in (False, True)
    )
    assert (
        whole.durations is not None
        and half.durations is not None
        and whole.units is not None
        and half.units is not None
    )
    frames = [speech.units.repeat_interleave(speech.durations) for speech in (whole, half)]
    agreement = float((frames[0] == frames[1]).float().mean())
    assert 0.5 < agreement < 1.0  # random weights, whose margins are small
    names = [re.findall(r"\[Pi\d+\]", speech_string(speech.tokens, vocabulary)) for speech in (whole, half)]
    assert names[0] == names[1]


@pytest.mark.parametrize("name", ["silence", "noise"])
def test_speech_without_voice_has_codes(golden: Any, expressive: ExpressiveTokenizer, name: str) -> None:
    """The release fails with it."""
    waveforms, lengths = golden.wave(name)
    units = expressive.encode(waveforms, lengths)[0]
    assert len(units.codes["pitch"]) == (int(lengths) // 80 + 1) // 16


def test_known_f0_is_cut_as_the_audio_is(golden: Any, expressive: ExpressiveTokenizer) -> None:
    phonetic = PhoneticTokenizer(expressive.phonetic.extractor, expressive.phonetic.quantizer, chunk_seconds=1.6)
    tokenizer = ExpressiveTokenizer(phonetic, expressive.pitch, expressive.style, together=True)
    waveforms, lengths = golden.wave("w50")
    f0, voiced = torch.full((1, 1001), 200.0), torch.ones(1, 1001, dtype=torch.bool)
    f0[:, 320:640] = 300.0  # the second chunk
    means = torch.tensor([200.0])
    units = tokenizer.encode(waveforms, lengths, KnownF0(f0, voiced, means))[0]
    chunks = [(f0[:, first : first + 321], voiced[:, first : first + 321]) for first in (0, 320, 640)]
    lasting = torch.tensor([25_600])
    wanted = [expressive.pitch.encode(*chunk, lasting, means)[0] for chunk in chunks]
    assert units.codes["pitch"][:60].tolist() == torch.cat(wanted).tolist() and wanted[0].tolist() != wanted[1].tolist()


def test_a_raw_checkpoint_of_fairseq_is_the_same(golden: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from spiritlm_pl.interop.release.hubert import read_hubert

    found = torch.load(golden.release.speech / HUBERT, weights_only=True)
    path = tmp_path / "raw.pt"
    module = types.ModuleType("fairseq.data.dictionary")  # checkpoints of fairseq hold its lists of symbols
    symbols = type("Dictionary", (), {"__module__": module.__name__})
    for name in ("fairseq", "fairseq.data", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    module.Dictionary = symbols
    listed = symbols()
    listed.symbols = ["a", "b"]
    raw = {
        "cfg": {"model": found["model_cfg"], "task": found["task_cfg"]},
        "model": found["model_weight"],
        "task_state": {"dictionaries": [listed]},
        "optimizer_history": [{"lr_scheduler_state": {"best": None}}],
    }
    torch.save(raw, path, _use_new_zipfile_serialization=False)  # as torch of its time wrote it
    monkeypatch.undo()
    features, _ = read_hubert(path)(*golden.wave("w05"))
    torch.testing.assert_close(features[0], golden.arrays("hubert")["w05_dense"], atol=3e-4, rtol=0)
    third = replace(read_hubert(path, layer=3).config)
    assert third.layer == 3
    features, _ = read_hubert(path, layer=3)(*golden.wave("w05"))
    torch.testing.assert_close(features[0], golden.arrays("hubert")["w05_layer3"], atol=3e-4, rtol=0)
