"""Our log-ratios and losses of pairs beside those of trl's DPOTrainer, on the same tokens.

trl is run as a program with the packages of this environment, from a folder of its own that it is installed to at the
first use, in `SPIRITLM_READERS`. No part of the suite, for the file has another name than tests have: `make test-trl`
runs it.
"""

import json
import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spiritlm_pl.lm.build import LanguageModelConfig, build_network
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.preferences.learning import preference_loss, preference_metrics
from spiritlm_pl.preferences.losses import DPO
from spiritlm_pl.preferences.packing import pack
from spiritlm_pl.preferences.pairs import Pair, Pairs
from spiritlm_pl.preferences.reference import pair_likelihoods

FOLDER = Path(os.environ.get("SPIRITLM_READERS", Path.home() / ".cache" / "spiritlm-readers")) / "trl"
PACKAGES = ("trl==1.16.0",)


@pytest.fixture(scope="module")
def trl() -> Path:
    """The folder that trl is installed to."""
    done = FOLDER / "installed.txt"
    if not (done.is_file() and done.read_text() == repr(PACKAGES)):
        options = ["--quiet", "--no-deps", "--upgrade", "--target", str(FOLDER)]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *PACKAGES], check=True)
        done.write_text(repr(PACKAGES))
    return FOLDER


def test_log_ratios_and_losses_are_those_of_trl(trl: Path, tiny_lm, tmp_path: Path) -> None:
    network, text, vocabulary = tiny_lm
    model, reference = deepcopy(network), deepcopy(network)
    with torch.no_grad():
        for one, factor in ((model, 12), (reference, 10)):
            one.lm_head.weight *= factor
    folders = [save_lm(tmp_path / name, one, vocabulary, text) for name, one in (("lm", model), ("ref", reference))]
    rng = np.random.default_rng(0)
    first, end = vocabulary.speech_bounds
    pairs = [
        Pair(str(n), rng.integers(3, end, 6).tolist(), *(rng.integers(low, end, size).tolist() for size in (9, 4)))
        for n, low in enumerate([3, first] * 6)
    ]
    rows = [{"prompt_ids": p.prompt, "chosen_ids": p.chosen, "rejected_ids": p.rejected} for p in pairs]
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    out = tmp_path / "logged.json"
    program = Path(__file__).with_name("with_trl.py")
    command = [sys.executable, program, *folders, tmp_path / "pairs.json", out]
    environment = {**os.environ, "PYTHONPATH": str(trl)}
    done = subprocess.run([*map(str, command)], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    theirs = json.loads(out.read_text())
    assert len(theirs) == len(pairs)

    found = Pairs.of(pairs, np.uint16)
    found = replace(found, reference=pair_likelihoods(reference.eval(), found, 4096))
    trained = build_network(LanguageModelConfig(checkpoint=str(folders[0])), vocabulary)
    for place, logged in enumerate(theirs):
        batch = pack(found.take(np.array([place])), 64, vocabulary, 0)
        loss, sums = preference_loss(trained, batch, DPO(beta=1.0))
        figures = preference_metrics(sums)
        for name, value in (
            ("rewards/chosen", figures["reward_chosen"]),  # with beta 1 the log-ratio
            ("rewards/rejected", figures["reward_rejected"]),
            ("loss", float(loss.detach())),
        ):
            assert value == pytest.approx(logged[name], abs=1e-5, rel=0), (place, name)
    assert max(abs(logged["rewards/chosen"]) for logged in theirs) > 1  # so that something is compared
