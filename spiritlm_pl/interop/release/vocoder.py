"""The published unit vocoders (`config.json`, `generator.pt`): HiFi-GAN over units, pitch, style and speaker.

Vocoders of textless speech-to-speech translation, whose units come at 50 Hz, have the same form.
"""

import math
from pathlib import Path
from typing import Any

import torch

from spiritlm_pl.interop.release.files import Weights, fill, part, read_json, read_pickle, weight_norm_names
from spiritlm_pl.vocoder.hifigan import HiFiGANConfig, HiFiGANVocoder

CONFIG, WEIGHTS = "config.json", "generator.pt"
SPEAKERS, STYLES = "speakers.txt", "styles.txt"
DEFAULT_SPEAKER, DEFAULT_STYLE = 2, 8  # defaults of the release
EMBEDDINGS = {
    "dict": "unit_embedding",
    "f0_dict": "pitch_embedding",
    "style_dict": "style_code_embedding",
    "spkr": "speaker_embedding",
    "style": "style_embedding",
}
DURATIONS = "dur_predictor"


def read_vocoder(folder: str | Path) -> HiFiGANVocoder:
    """Read the vocoder, with names of voices and styles from the lists beside it.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the folder holds something else.
    """
    folder = Path(folder)
    described = read_json(folder / CONFIG)
    path = folder / WEIGHTS
    weights: Weights = part(read_pickle(path), "generator", path)
    if "spkr.weight" not in weights:
        weights = _with_one_speaker(weights, part(described, "embedding_dim", path))
    vocoder = HiFiGANVocoder(_config(described, weights, folder))
    if not any(name.startswith(DURATIONS) for name in weights):
        raise ValueError(f"{path} must hold a duration predictor, but has no weights of {DURATIONS}")
    fill(vocoder, {_renamed(name): value for name, value in weights.items()}, path)
    return vocoder.eval()


def _config(described: dict[str, Any], weights: Weights, folder: Path) -> HiFiGANConfig:
    path = folder / CONFIG
    if str(described.get("resblock", "1")) != "1":
        raise ValueError(f"resblock of {path} must be 1, but is {described['resblock']} instead")
    rows = {name: len(weights[f"{old}.weight"]) for old, name in EMBEDDINGS.items() if f"{old}.weight" in weights}
    rates = part(described, "upsample_rates", path)
    hop_length = math.prod(rates)
    if described.get("code_hop_size", hop_length) != hop_length:
        raise ValueError(
            f"code_hop_size of {path} must be the product of upsample_rates {hop_length}, "
            f"but is {described['code_hop_size']} instead"
        )
    width = part(described, "embedding_dim", path)
    wide, one_voice = width * len(rows), width * (rows.get("speaker_embedding") == 1)  # one voice may have no channels
    if described.get("model_in_dim", wide) not in (wide, wide - one_voice):
        raise ValueError(
            f"model_in_dim of {path} must be that of {WEIGHTS}, {wide} ({', '.join(rows)}), "
            f"but is {described['model_in_dim']} instead"
        )
    durations = part(described, "dur_predictor_params", path)
    if durations.get("var_pred_kernel_size", 3) != 3:
        raise ValueError(
            f"var_pred_kernel_size of {path} must be 3, but is {durations['var_pred_kernel_size']} instead"
        )
    speakers = _names(folder / SPEAKERS, "speaker", rows.get("speaker_embedding", 0))
    styles = _names(folder / STYLES, "style", rows.get("style_embedding", 0))
    return HiFiGANConfig(
        num_units=rows["unit_embedding"],
        num_pitches=rows.get("pitch_embedding", 0),
        num_styles=rows.get("style_code_embedding", 0),
        speakers=speakers,
        styles=styles,
        default_speaker=min(DEFAULT_SPEAKER, len(speakers) - 1),
        default_global_style=min(DEFAULT_STYLE, max(0, len(styles) - 1)),
        embedding_dim=part(described, "embedding_dim", path),
        sample_rate=described.get("sampling_rate", 16_000),
        hop_length=hop_length,
        upsample_rates=tuple(rates),
        upsample_kernel_sizes=tuple(part(described, "upsample_kernel_sizes", path)),
        upsample_initial_channels=part(described, "upsample_initial_channel", path),
        resblock_kernel_sizes=tuple(part(described, "resblock_kernel_sizes", path)),
        resblock_dilations=tuple(tuple(row) for row in part(described, "resblock_dilation_sizes", path)),
        duration_channels=part(durations, "var_pred_hidden_dim", path),
        duration_dropout=durations.get("var_pred_dropout", 0.5),
    )


def _names(path: Path, kind: str, rows: int) -> tuple[str, ...]:
    """Return a name for each row of an embedding: first those of a list beside the weights, then numbered ones."""
    listed = (
        [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if path.is_file()
        else []
    )
    names = listed[:rows] if len(set(listed)) == len(listed) else []
    return (*names, *(f"{kind}{number}" for number in range(len(names), rows)))


def _with_one_speaker(weights: Weights, channels: int) -> Weights:
    """Turn weights of a vocoder without voices into those of a vocoder whose only voice has no effect."""
    taps = weights["conv_pre.weight_v"]  # its norm, over all axes but the first, is not changed by zeros
    place = channels * sum(f"{name}.weight" in weights for name in ("dict", "f0_dict", "style_dict"))
    silent = taps.new_zeros(len(taps), channels, taps.shape[2])
    widened = torch.cat([taps[:, :place], silent, taps[:, place:]], dim=1)
    return {**weights, "conv_pre.weight_v": widened, "spkr.weight": taps.new_zeros(1, channels)}


def _renamed(name: str) -> str:
    first, _, rest = name.partition(".")
    if first in EMBEDDINGS:
        return f"{EMBEDDINGS[first]}.{rest}"
    if first == DURATIONS:
        return f"duration_predictor.{rest}"
    return weight_norm_names(f"generator.{name}")
