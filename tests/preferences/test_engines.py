"""Preference tuning of all weights and of an adapter: two ranks of every engine agree with one process."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from spiritlm_pl.adapters.folder import WEIGHTS_FILE, with_adapter
from spiritlm_pl.lm.folder import load_lm, save_lm
from spiritlm_pl.preferences.pairs import Pair
from spiritlm_pl.preferences.reference import add_reference
from spiritlm_pl.preferences.store import store

WORKER = Path(__file__).with_name("prefer_worker.py")


@pytest.fixture(scope="module")
def made(tiny_lm, tmp_path_factory) -> Path:
    """A model, and pairs with its log-likelihoods."""
    folder = tmp_path_factory.mktemp("engines")
    network, text, vocabulary = tiny_lm
    network = deepcopy(network)
    with torch.no_grad():
        network.lm_head.weight *= 30  # otherwise all tokens are equally likely
    save_lm(folder / "lm", network, vocabulary, text)
    rng = np.random.default_rng(0)
    pairs = [
        Pair(str(n), *(rng.integers(3, vocabulary.num_tokens, rng.integers(3, 9)).tolist() for _ in range(3)))
        for n in range(15)
    ]
    manifest = store(folder / "pairs", pairs, [], vocabulary, text.fingerprint, 0.2, {})
    add_reference(folder / "pairs", manifest, load_lm(folder / "lm")[0], folder / "lm", 256)
    return folder


@pytest.fixture
def tune(made: Path, start_ranks: Callable[..., Callable[..., str]]) -> Callable[..., dict[str, list[float]]]:
    """Tunes; returns the figures after every step, and the loss of the held-out pairs. A run is made once."""

    def tune(name: str, engine: str, ranks: int, adapter: str, *checkpoint: Path) -> dict[str, list[float]]:
        out = made / name
        if not out.is_dir():
            out.mkdir()
            start_ranks(WORKER, out, engine, ranks, 4, made / "lm", made / "pairs", adapter, *checkpoint)()
        found: dict[str, list[float]] = json.loads((out / "losses.json").read_text())
        return found

    return tune


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "adapter"), [("ddp", "yes"), ("zero3", "yes"), ("fsdp2", "yes"), ("ddp", "no"), ("zero3", "no")]
)
def test_two_ranks_agree_with_one(made: Path, tune, engine: str, adapter: str) -> None:
    alone, name = f"alone_{adapter}", f"{engine}_{adapter}"
    expected, measured = tune(alone, "auto", 1, adapter), tune(name, engine, 2, adapter)
    assert sorted(measured) == sorted(expected) == ["1", "2", "3", "4", "held out"]
    assert expected["1"][0] == pytest.approx(np.log(2), abs=1e-4) and expected["4"][0] < expected["1"][0]
    for step, figures in expected.items():
        assert_close(torch.tensor(measured[step]), torch.tensor(figures), rtol=1e-3, atol=1e-4)
    if adapter == "yes":
        ours, theirs = (load_file(made / run / "export" / WEIGHTS_FILE) for run in (name, alone))
        assert_close(ours, theirs, rtol=1e-2, atol=1e-3)
        network, _, vocabulary = load_lm(made / "lm")
        with_adapter(network, made / name / "export", made / "lm", vocabulary)
    else:
        ours, theirs = (load_lm(made / run / "export")[0].state_dict() for run in (name, alone))
        assert_close(ours, theirs, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["zero3", "fsdp2"])
def test_an_adapter_goes_on_from_shards(made: Path, tune, engine: str) -> None:
    whole = tune(f"{engine}_yes", engine, 2, "yes")
    again = tune(f"again_{engine}", engine, 2, "yes", made / f"{engine}_yes" / "step=2.ckpt")
    assert {step: again[step] for step in ("3", "4", "held out")} == {
        step: whole[step] for step in ("3", "4", "held out")
    }
