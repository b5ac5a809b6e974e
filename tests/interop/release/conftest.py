"""Checkpoints with random weights in the published layout, and what the published code gives with them.

All but the Base language model lie in tests/fixtures; that one is drawn again from its seed.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spiritlm_pl.interop.release.layout import Release

DATA = Path(__file__).resolve().parents[2] / "fixtures" / "release"
EXPRESSIVE, BASE = (DATA / "spiritlm_model" / f"spirit-lm-{variant}-7b" for variant in ("expressive", "base"))
BASE_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 88,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "rope_theta": 100_000.0,
    "vocab_size": 32_512,
}
BASE_SEED, BASE_TOKENS = 1051, 32_503


class Golden:
    """Published results by name."""

    release = Release(DATA)

    def __init__(self) -> None:
        self.waves = self.arrays("waves")

    def arrays(self, name: str) -> dict[str, Tensor]:
        return {key: torch.from_numpy(value) for key, value in np.load(DATA / "cases" / f"{name}.npz").items()}

    def described(self, name: str) -> Any:
        return json.loads((DATA / "cases" / f"{name}.json").read_text())

    def wave(self, name: str) -> tuple[Tensor, Tensor]:
        """A batch of one, and its length; channels are averaged."""
        waveform = self.waves[name]
        waveform = waveform.mean(0) if waveform.ndim == 2 else waveform
        return waveform[None], torch.tensor([len(waveform)])


def numbers(text: str) -> list[int]:
    """Values of a list that is kept as text."""
    return [*map(int, text.split())]


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden()


@pytest.fixture(scope="session")
def whole_release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """With both language models."""
    folder = tmp_path_factory.mktemp("release")
    (folder / "speech_tokenizer").symlink_to(DATA / "speech_tokenizer")
    (folder / "spiritlm_model").mkdir()
    (folder / "spiritlm_model" / EXPRESSIVE.name).symlink_to(EXPRESSIVE)
    make_base_model(folder / "spiritlm_model" / BASE.name)
    return Release(folder)


def make_base_model(folder: Path) -> None:
    """The Base language model: Expressive's files with other sizes, without the pieces of pitch and style."""
    from sentencepiece import sentencepiece_model_pb2 as proto

    folder.mkdir()
    for name in ("generation_config.json", "special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).symlink_to(EXPRESSIVE / name)
    config = {**json.loads((EXPRESSIVE / "config.json").read_text()), **BASE_SIZES}
    (folder / "config.json").write_text(json.dumps(config))
    model = proto.ModelProto.FromString((EXPRESSIVE / "tokenizer.model").read_bytes())
    del model.pieces[BASE_TOKENS:]
    model.trainer_spec.vocab_size = BASE_TOKENS
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    torch.save(base_weights(), folder / "pytorch_model.bin")


def base_weights() -> dict[str, Tensor]:
    """Weights of the Base language model as they were drawn: bfloat16 values, stored as float16.

    They were drawn in float32, whose last bits depend on the processor. Here they are drawn in float64, and the 250 of
    2.1 million values that another rounding made are in `base_rounded.npz`.
    """
    width, inner, rows = (BASE_SIZES[name] for name in ("hidden_size", "intermediate_size", "vocab_size"))
    square, up, down = (width, width), (inner, width), (width, inner)
    attention = {f"self_attn.{name}_proj": square for name in "qkvo"}
    layer = {**attention, "mlp.gate_proj": up, "mlp.up_proj": up, "mlp.down_proj": down}
    layer |= {"input_layernorm": (width,), "post_attention_layernorm": (width,)}
    shapes = {"model.embed_tokens": (rows, width), "lm_head": (rows, width)}
    shapes |= {f"model.layers.{number}.{name}": shape for number in (0, 1) for name, shape in layer.items()}
    shapes |= {"model.norm": (width,)}
    sizes = [math.prod(shape) for shape in shapes.values()]
    drawn = normal(sum(sizes), BASE_SEED).split(sizes)
    weights = {name: values.view(shape) for (name, shape), values in zip(shapes.items(), drawn, strict=True)}
    for name, shape in shapes.items():
        if name.endswith("norm"):
            weights[name] = 1 + 0.2 * weights[name]
        elif name.startswith("model.layers"):
            weights[name] *= 1.5 / math.sqrt(shape[-1])
    weights["lm_head"] *= 3.2 / math.sqrt(width)
    scales = ((0, 2, 0.25), (2, 3, 2.2), (3, 259, 0.25), (32_000, 32_002, 3.0), (32_002, BASE_TOKENS, 1.3))
    for first, end, scale in scales:  # of the output rows: special pieces, bytes, modalities, units
        weights["lm_head"][first:end] *= scale
    rounded = np.load(DATA / "base_rounded.npz")
    for name, values in weights.items():
        weights[name] = values.float().bfloat16().half()
        weights[name][weights[name].abs() < 2**-14] = 0  # less than float16 holds whole
        if name in rounded:
            places, right = rounded[name]["place"], rounded[name]["value"]
            weights[name].view(-1)[torch.from_numpy(places.astype(np.int64))] = torch.from_numpy(right)
    for name in ("model.embed_tokens", "lm_head"):
        weights[name][BASE_TOKENS:] = 0  # rows without a token
    return {f"{name}.weight": values for name, values in weights.items()}


def normal(number: int, seed: int) -> Tensor:
    """Normal numbers (number,) in float64 by torch's own method: Box and Muller's on blocks of 16."""
    uniform = torch.rand(number, generator=torch.Generator().manual_seed(seed)).double().view(-1, 2, 8)
    radius, angle = (-2 * (1 - uniform[:, 0]).log()).sqrt(), 2 * math.pi * uniform[:, 1]
    return torch.stack((radius * angle.cos(), radius * angle.sin()), 1).flatten()
