"""The published layout's numbers: HiFi-GAN with weights and outputs of the reference implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from spiritlm_pl.vocoder.hifigan import HiFiGANConfig, HiFiGANVocoder

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "release-fixtures"
RENAMED = {
    "dict": "unit_embedding",
    "spkr": "speaker_embedding",
    "style": "style_embedding",
    "dur_predictor": "duration_predictor",
}


@pytest.fixture(scope="module")
def vocoder() -> HiFiGANVocoder:
    folder = FIXTURES / "checkpoints" / "speech_tokenizer" / "hifigan_spiritlm_base"
    if not folder.is_dir():
        pytest.skip("the release fixtures are not beside this checkout")
    described = json.loads((folder / "config.json").read_text())
    config = HiFiGANConfig(
        num_units=described["num_embeddings"],
        speakers=tuple(f"speaker{i}" for i in range(200)),
        styles=tuple(f"style{i}" for i in range(100)),
        embedding_dim=described["embedding_dim"],
        upsample_rates=tuple(described["upsample_rates"]),
        upsample_kernel_sizes=tuple(described["upsample_kernel_sizes"]),
        upsample_initial_channels=described["upsample_initial_channel"],
        duration_channels=described["dur_predictor_params"]["var_pred_hidden_dim"],
    )
    weights = {}
    for key, value in torch.load(folder / "generator.pt", weights_only=True)["generator"].items():
        first, _, rest = key.partition(".")
        name = f"{RENAMED[first]}.{rest}" if first in RENAMED else f"generator.{key}"
        name = name.replace("weight_g", "parametrizations.weight.original0")
        weights[name.replace("weight_v", "parametrizations.weight.original1")] = value
    vocoder = HiFiGANVocoder(config)
    vocoder.load_state_dict(weights)
    return vocoder.eval()


@pytest.mark.parametrize("key", ["v0", "v1", "v2", "v4"])
def test_same_waveform_and_durations(vocoder: HiFiGANVocoder, key: str) -> None:
    cases = json.loads((FIXTURES / "cases" / "vocoder_base.json").read_text())["cases"]
    case = next(case for case in cases if case["key"] == key)
    arguments = case["args"]
    units = torch.tensor([int(unit) for unit in arguments["code"].split()])
    if not arguments["not_dedup_code"]:
        units = units.unique_consecutive()
    durations = None if arguments["dur_pred"] else torch.ones_like(units)
    made = vocoder.synthesize(units, arguments.get("speaker_id", 2), durations, arguments.get("style_id", 8))
    reference = torch.from_numpy(np.load(FIXTURES / "cases" / "vocoder_base.npz")[key])
    torch.testing.assert_close(made, reference, atol=5e-5, rtol=0)
