"""The published layout's numbers: HiFi-GAN with weights and outputs of the reference implementation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spiritlm_pl.tokens.corpus_store import at_frames
from spiritlm_pl.vocoder.hifigan import HiFiGANConfig, HiFiGANVocoder

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "release-fixtures"
RENAMED = {
    "dict": "unit_embedding",
    "f0_dict": "pitch_embedding",
    "style_dict": "style_code_embedding",
    "spkr": "speaker_embedding",
    "style": "style_embedding",
    "dur_predictor": "duration_predictor",
}


def published(name: str) -> HiFiGANVocoder:
    """A network with the weights of a fixture."""
    folder = FIXTURES / "checkpoints" / "speech_tokenizer" / name
    if not folder.is_dir():
        pytest.skip("the release fixtures are not beside this checkout")
    described = json.loads((folder / "config.json").read_text())
    multistyle = described.get("multistyle")
    config = HiFiGANConfig(
        num_units=described["num_embeddings"],
        num_pitches=described.get("num_f0_tokens", 0),
        num_styles=described.get("num_style_tokens", 0),
        speakers=tuple(f"speaker{i}" for i in range(described.get("num_speakers", 200))),
        styles=tuple(f"style{i}" for i in range(100)) if multistyle else (),
        embedding_dim=described["embedding_dim"],
        upsample_rates=tuple(described["upsample_rates"]),
        upsample_kernel_sizes=tuple(described["upsample_kernel_sizes"]),
        upsample_initial_channels=described["upsample_initial_channel"],
        duration_channels=described["dur_predictor_params"]["var_pred_hidden_dim"],
    )
    weights = {}
    for key, value in torch.load(folder / "generator.pt", weights_only=True)["generator"].items():
        first, _, rest = key.partition(".")
        key = f"{RENAMED[first]}.{rest}" if first in RENAMED else f"generator.{key}"
        key = key.replace("weight_g", "parametrizations.weight.original0")
        weights[key.replace("weight_v", "parametrizations.weight.original1")] = value
    vocoder = HiFiGANVocoder(config)
    vocoder.load_state_dict(weights)
    return vocoder.eval()


@pytest.fixture(scope="module")
def base() -> HiFiGANVocoder:
    return published("hifigan_spiritlm_base")


@pytest.fixture(scope="module")
def expressive() -> HiFiGANVocoder:
    return published("hifigan_spiritlm_expressive_w2v2")


def described_case(kind: str, key: str) -> tuple[dict[str, Any], dict[str, torch.Tensor], torch.Tensor]:
    """Arguments of a case, those that are ids, and its waveform."""
    cases = json.loads((FIXTURES / "cases" / f"vocoder_{kind}.json").read_text())["cases"]
    arguments = next(case for case in cases if case["key"] == key)["args"]
    names = {"code": "units", "f0_code": "pitches", "style_code": "styles"}
    ids = {names[name]: torch.tensor([*map(int, arguments[name].split())]) for name in names if name in arguments}
    return arguments, ids, torch.from_numpy(np.load(FIXTURES / "cases" / f"vocoder_{kind}.npz")[key])


@pytest.mark.parametrize("key", ["v0", "v1", "v2", "v4"])
def test_same_waveform_and_durations(base: HiFiGANVocoder, key: str) -> None:
    arguments, ids, reference = described_case("base", key)
    units = ids["units"]
    if not arguments["not_dedup_code"]:
        units = units.unique_consecutive()
    durations = None if arguments["dur_pred"] else torch.ones_like(units)
    made = base.synthesize(units, arguments.get("speaker_id", 2), durations, style=arguments.get("style_id", 8))
    torch.testing.assert_close(made, reference, atol=5e-5, rtol=0)


@pytest.mark.parametrize("key", ["v0", "v1", "v2", "v3", "v4", "v5"])
def test_same_expressive_waveform(expressive: HiFiGANVocoder, key: str) -> None:
    arguments, ids, reference = described_case("expressive", key)
    speaker = arguments.get("speaker_id", 2)
    if arguments["dur_pred"]:
        made = expressive.synthesize(ids["units"], speaker, None, ids["pitches"], ids["styles"])
    else:
        frames = len(ids["units"])
        rates = {"pitches": 12.5, "styles": 1.0}
        codes = [at_frames(ids[name].numpy(), rate, 25.0, frames) for name, rate in rates.items()]
        made = expressive.speak_frames(ids["units"], speaker, *map(torch.from_numpy, codes))
    torch.testing.assert_close(made, reference, atol=5e-5, rtol=0)
