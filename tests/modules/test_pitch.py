"""Training of the pitch VQ-VAE: it learns, its figures are right, a resumed run is the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer, seed_everything
from torch.utils.data import DataLoader

from spiritlm_pl.batches import F0Batch
from spiritlm_pl.checkpoint import load_network
from spiritlm_pl.modules.pitch import PitchModule
from spiritlm_pl.speech.f0_measures import F0Errors, f0_errors
from spiritlm_pl.speech.pitch_vqvae import PitchVQVAEConfig


def contours(seed: int, size: int = 16, frames: int = 208) -> F0Batch:
    """Slow waves of random height, voiced in the middle."""
    generator = torch.Generator().manual_seed(seed)
    height, phase = torch.rand(2, size, 1, generator=generator)
    wave = 60 * height * torch.sin(2 * torch.pi * (torch.arange(frames) / 100 + phase))
    voiced = torch.zeros(size, frames)
    voiced[:, 30:-30] = 1.0
    lengths = torch.full((size,), frames)
    lengths[-1] = frames - 40
    return F0Batch(
        contours=torch.stack([wave, voiced], dim=1),
        means=torch.full((size,), 150.0),
        lengths=lengths,
        ids=[str(index) for index in range(size)],
    )


def fit(folder: Path, steps: int, ckpt_path: str | None = None, num_batches: int = 100) -> PitchModule:
    seed_everything(0, verbose=False)
    module = PitchModule(PitchVQVAEConfig(num_codes=16, dim=16, width=16, depth=2), learning_rate=3e-3)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        limit_val_batches=1,
        val_check_interval=50,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        enable_checkpointing=False,
    )
    train: Any = DataLoader([contours(seed % num_batches) for seed in range(100)], batch_size=None)
    trainer.fit(module, train, DataLoader([contours(1000)], batch_size=None), ckpt_path=ckpt_path)
    trainer.save_checkpoint(folder / "end.ckpt")
    return module


def test_it_learns_and_is_exported(tmp_path: Path) -> None:
    figures = fit(tmp_path, 200).trainer.callback_metrics
    assert figures["val/voicing_error"] < 0.15 and figures["val/f0_rmse_hertz"] < 25
    assert figures["val/codes_used"] > 0.5 and figures["val/codes_entropy"] > 2
    module = fit(tmp_path, 1)
    module.export(str(tmp_path / "export"))
    network = load_network(tmp_path / "export", "pitch")
    batch = contours(3)
    assert torch.equal(network.encode(batch.contours), module.network.encode(batch.contours))  # type: ignore[operator]


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
def test_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    same = {"num_batches": 1}  # this loader does not know where it was
    whole = fit(tmp_path / "whole", 20, **same)
    fit(tmp_path / "part", 10, **same)
    resumed = fit(tmp_path / "part", 20, ckpt_path=str(tmp_path / "part" / "end.ckpt"), **same)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_figures_of_known_errors() -> None:
    original = torch.full((1, 10), 100.0)
    voiced = torch.tensor([[True] * 8 + [False] * 2])
    made = original.clone()
    made[0, 0] = 200.0  # an octave
    made_voiced = voiced.clone()
    made_voiced[0, 1] = False
    inside = torch.ones(1, 10, dtype=torch.bool)
    errors = f0_errors(made, made_voiced, original, voiced, inside)
    figures = errors.figures()
    assert figures["voicing_error"] == pytest.approx(0.1) and figures["f0_frame_error"] == pytest.approx(0.2)
    assert figures["f0_rmse_hertz"] == pytest.approx((100**2 / 7) ** 0.5)
    assert figures["f0_rmse_cents"] == pytest.approx((1200**2 / 7) ** 0.5)
    twice = F0Errors.from_sums(2 * errors.sums()).figures()
    assert twice == pytest.approx(figures)
    assert f0_errors(made, made_voiced, original, voiced, ~inside).figures() == {}
