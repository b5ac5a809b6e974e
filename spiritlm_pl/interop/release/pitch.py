"""The published pitch VQ-VAE (`config.yaml`, `model.pt`), whose networks are named as in Jukebox."""

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from spiritlm_pl.interop.release.files import fill, part, read_pickle
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.tokenizers.pitch_vqvae import CHANNELS, STRIDE, PitchVQVAE, PitchVQVAEConfig

CONFIG, WEIGHTS = "config.yaml", "model.pt"
FEATURES = "norm_f0_interp,vuv"
UNSUPPORTED = ("dilation_cycle", "reverse_encoder_dilation")
BLOCK = {"1": "dilated", "3": "pointwise"}


def read_pitch(folder: str | Path) -> PitchVQVAE:
    """Read the VQ-VAE. It can encode, but not be trained, since the moving averages of its codebook are not published.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the folder holds something else, or the VQ-VAE expects contours of another kind.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"checkpoint must hold {CONFIG}, but {found_at(folder / CONFIG)}")
    described = OmegaConf.load(folder / CONFIG)
    assert isinstance(described, DictConfig)
    config = _config(OmegaConf.to_container(described, resolve=True), folder / CONFIG)
    network = PitchVQVAE(config)
    weights = part(read_pickle(folder / WEIGHTS), "model", folder / WEIGHTS)
    own = network.state_dict()
    averages = {name: own[name] for name in own if name.startswith("codebook.") and name != "codebook.codes"}
    renamed = {_renamed(name, config.downsamplings): value for name, value in weights.items()}
    fill(network, {**averages, **renamed}, folder / WEIGHTS)
    return network.eval()


def _config(described: Any, path: Path) -> PitchVQVAEConfig:
    encoder, decoder, codebook = (part(described, f"{name}_params", path) for name in ("encoder", "decoder", "vq"))
    wanted = {"features": FEATURES, "speaker_norm": False}
    for name, value in wanted.items():
        if described.get(name, value) != value:
            raise ValueError(f"{name} of {path} must be {value}, but is {described[name]} instead")
    for params in (encoder, decoder):
        for name in UNSUPPORTED:
            if params.get(name):
                raise ValueError(f"{name} of {path} must not be set, but is {params[name]} instead")
        layout = {"levels": 1, "input_emb_width": CHANNELS, "strides_t": [STRIDE], "m_conv": 1.0}
        for name, value in layout.items():
            if params.get(name, value) != value:
                raise ValueError(f"{name} of {path} must be {value}, but is {params[name]} instead")
    return PitchVQVAEConfig(
        num_codes=part(codebook, "l_bins", path),
        dim=part(codebook, "emb_width", path),
        width=part(encoder, "width", path),
        depth=part(encoder, "depth", path),
        downsamplings=part(encoder, "downs_t", path)[0],
        dilation_growth=part(encoder, "dilation_growth_rate", path),
        reverse_decoder_dilation=bool(decoder.get("reverse_decoder_dilation", False)),
        residual_scale=bool(encoder.get("res_scale", False)),
        frame_rate=described.get("sampling_rate", 16_000) / described.get("f0_hop_size", 80),
    )


def _renamed(name: str, levels: int) -> str:
    """Return this package's name of a weight.

    Level i is layers 2i (convolution) and 2i + 1 (residual blocks) of the encoder, and layers 2i + 1 (residual blocks)
    and 2i + 2 (convolution) of the decoder. At the other end, each of them has one more convolution.
    """
    if name == "vq.level_blocks.0.k":
        return "codebook.codes"
    if name.startswith("decoder.out."):
        return name.replace("decoder.out", f"decoder.{2 * levels + 1}")
    matched = re.fullmatch(r"(encoder|decoder)\.level_blocks\.0\.model\.(\d+)\.(.+)", name)
    if matched is None:
        return name
    side, place, rest = matched[1], int(matched[2]), matched[3]
    first = 0 if side == "encoder" else 1
    if "." not in rest:  # at the end of the encoder, or the beginning of the decoder
        return f"{side}.{2 * place}.{rest}"
    step, rest = rest.split(".", 1)
    layer = 2 * (place - first) + first + int(step)
    block = re.fullmatch(r"model\.(\d+)\.model\.([13])\.(.+)", rest)
    return f"{side}.{layer}.{rest}" if block is None else f"{side}.{layer}.{block[1]}.{BLOCK[block[2]]}.{block[3]}"
