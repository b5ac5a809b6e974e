"""Checkpoints with random weights in the published layout, and what the published code gives with them.

All but the Base language model lie in tests/data; that one is tested where it is at hand.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spiritlm_pl.release.layout import Release

DATA = Path(__file__).resolve().parents[1] / "data" / "release"
WITH_MODELS = Path(__file__).resolve().parents[3] / "shared" / "release-fixtures"


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
def whole_release() -> Release:
    """With all language models that are at hand."""
    return Release(WITH_MODELS / "checkpoints" if WITH_MODELS.is_dir() else DATA)
