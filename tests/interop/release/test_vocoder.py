"""The published vocoders with our code: the same waveforms and durations, and clear errors where theirs fail."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from spiritlm_pl.data.frames import at_frames
from spiritlm_pl.interop.release.speech import read_speaker
from spiritlm_pl.interop.release.vocoder import CONFIG, WEIGHTS, read_vocoder
from spiritlm_pl.runtime.checkpoint import load_network, save_network
from spiritlm_pl.vocoder.hifigan import HiFiGANVocoder

KINDS = {"code": "units", "f0_code": "pitches", "style_code": "styles"}
RATES = {"pitches": 12.5, "styles": 1.0}
VARIANTS = ("base", "expressive")


@pytest.fixture(scope="module")
def vocoders(golden: Any) -> dict[str, HiFiGANVocoder]:
    return {variant: read_speaker(golden.release, variant) for variant in VARIANTS}


def ids(text: str | list[int]) -> torch.Tensor:
    return torch.tensor([*map(int, text.split())] if isinstance(text, str) else text)


def speak(vocoder: HiFiGANVocoder, arguments: dict[str, Any]) -> torch.Tensor:
    """The published arguments, as ours: negative units are dropped, and units collapse only with durations."""
    codes = {KINDS[name]: ids(arguments[name]) for name in KINDS if name in arguments}
    codes["units"] = codes["units"][codes["units"] >= 0]
    voice = {"speaker": arguments.get("speaker_id")}
    if "style_id" in arguments:
        voice["style"] = arguments["style_id"]
    if arguments["dur_pred"]:
        if not arguments.get("not_dedup_code"):
            codes["units"] = codes["units"].unique_consecutive()
        return vocoder.synthesize(**codes, **voice)
    for name in set(codes) - {"units"}:
        codes[name] = torch.from_numpy(at_frames(codes[name].numpy(), RATES[name], 25.0, len(codes["units"])))
    return vocoder.speak_frames(**codes, **voice)


def cases() -> list[tuple[str, str]]:
    return [("base", f"v{number}") for number in range(9)] + [("expressive", f"v{number}") for number in range(10)]


@pytest.mark.parametrize(("variant", "key"), cases())
def test_same_waveform(golden: Any, vocoders: dict[str, HiFiGANVocoder], variant: str, key: str) -> None:
    described = golden.described(f"vocoder_{variant}")["cases"]
    case = next(case for case in described if case["key"] == key)
    if "raises" not in case:
        made = speak(vocoders[variant], case["args"])
        assert len(made) == case["samples"]
        torch.testing.assert_close(made, golden.arrays(f"vocoder_{variant}")[key], atol=5e-5, rtol=0)
    elif (variant, key) == ("base", "v8"):
        with pytest.raises(ValueError, match=r"units must be in \[0, 500\), but one is 500 instead"):
            speak(vocoders[variant], case["args"])
    elif case["args"]["dur_pred"] and "f0_code" in case["args"]:
        with pytest.raises(ValueError, match="must have shape"):
            speak(vocoders[variant], case["args"])
    else:  # no pitch and style, or two too many: ours speaks
        assert bool(speak(vocoders[variant], case["args"]).isfinite().all())


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_durations(golden: Any, vocoders: dict[str, HiFiGANVocoder], variant: str) -> None:
    wanted = golden.arrays(f"vocoder_{variant}")
    for case in golden.described(f"vocoder_{variant}")["cases"]:
        if f"{case['key']}_logdur" in wanted and case["args"].get("not_dedup_code"):
            units = ids(case["args"]["code"])
            found = vocoders[variant].predict_log_durations(units[units >= 0][None])
            torch.testing.assert_close(found.flatten(), wanted[f"{case['key']}_logdur"].flatten(), atol=5e-5, rtol=0)


def test_voices_and_styles_have_their_names(vocoders: dict[str, HiFiGANVocoder]) -> None:
    base = vocoders["base"].config
    assert base.speakers[:4] == ("spk0", "spk1", "spk2", "spk3") and len(base.speakers) == 200
    assert base.styles[base.default_global_style] == "conv-default" and len(base.styles) == 100
    assert base.default_speaker == 2 and vocoders["base"].speaker_id(None) == vocoders["base"].speaker_id("spk2")
    expressive = vocoders["expressive"].config
    assert len(expressive.speakers) == 4 and not expressive.styles
    assert 0 < expressive.default_style < expressive.num_styles and 0 <= expressive.default_pitch < 64


def test_saved_and_read_again(vocoders: dict[str, HiFiGANVocoder], tmp_path: Path) -> None:
    read = load_network(save_network(tmp_path / "vocoder", vocoders["expressive"], "vocoder"), "vocoder")
    assert isinstance(read, HiFiGANVocoder)
    assert read.config.default_pitch == vocoders["expressive"].config.default_pitch and read.config.default_speaker == 2
    assert torch.equal(read.synthesize([1, 2, 3]), vocoders["expressive"].synthesize([1, 2, 3]))


def test_units_at_another_rate_and_no_voices(golden: Any, vocoders: dict[str, HiFiGANVocoder], tmp_path: Path) -> None:
    """The form of textless speech-to-speech vocoders: 50 Hz, and often a single voice without an embedding."""
    source = golden.release.vocoder("base")
    described = json.loads((source / CONFIG).read_text())
    weights = torch.load(source / WEIGHTS, weights_only=True)["generator"]
    speaker, style = weights.pop("spkr.weight"), weights.pop("style.weight")
    weights["conv_pre.weight_v"] = weights["conv_pre.weight_v"][:, :16].clone()
    weights["ups.0.weight_v"] = weights["ups.0.weight_v"][..., :8].clone()
    del described["multispkr"], described["multistyle"]
    rates = {"upsample_rates": [4, 4, 5, 2, 2], "upsample_kernel_sizes": [8, 8, 9, 4, 4]}
    for stage, size in enumerate(rates["upsample_kernel_sizes"]):
        taps = weights[f"ups.{stage}.weight_v"]
        weights[f"ups.{stage}.weight_v"] = torch.nn.functional.pad(taps, (0, max(0, size - taps.shape[2])))[..., :size]
    (tmp_path / CONFIG).write_text(json.dumps({**described, **rates, "code_hop_size": 320, "model_in_dim": 16}))
    torch.save({"generator": weights}, tmp_path / WEIGHTS)
    vocoder = read_vocoder(tmp_path)
    assert vocoder.hop_length == 320 and vocoder.config.speakers == ("speaker0",) and not vocoder.config.styles
    made = vocoder.synthesize([3, 1, 4], durations=torch.tensor([1, 2, 1]))
    assert len(made) == 4 * 320 and float(made.std()) > 0
    assert len(speaker) == 200 and len(style) == 100


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_speech_from_strings(golden: Any, vocoders: dict[str, HiFiGANVocoder], variant: str) -> None:
    wanted, compared = golden.arrays("tokenizer_e2e"), 0
    for case in golden.described("tokenizer_e2e")["cases"]:
        if case["tokenizer"] != variant or "decode_string" not in case:
            continue
        units = {name: ids(text) for name, text in case["units_from_string"].items()}
        codes = {"pitches": units.get("pitch"), "styles": units.get("style")}
        made = vocoders[variant].synthesize(units["hubert"], None, None, **codes)
        torch.testing.assert_close(made, wanted[case["decode_string"]["key"]], atol=5e-5, rtol=0)
        frames = ids(case["units"]["hubert"])
        at = {
            name: torch.from_numpy(at_frames(ids(case["units"][kind]).numpy(), RATES[name], 25.0, len(frames)))
            for name, kind in (("pitches", "pitch"), ("styles", "style"))
            if kind in case["units"]
        }
        plain = case["decode_units_nodur"]
        made = vocoders[variant].speak_frames(frames, plain["args"]["speaker_id"], **at)
        torch.testing.assert_close(made, wanted[plain["key"]], atol=5e-5, rtol=0)
        compared += 1
    assert compared == 2
