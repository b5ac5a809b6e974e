"""Training of the pitch VQ-VAE: it learns, its figures are right, a resumed run is the same, bad batches do no harm."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer, seed_everything
from torch.utils.data import DataLoader

from spiritlm_pl.callbacks.decay_in_time import DecayInTime
from spiritlm_pl.contracts.batches import F0Batch
from spiritlm_pl.f0.measures import F0Errors, f0_errors
from spiritlm_pl.lm.schedule import Constant, WarmupStableDecay
from spiritlm_pl.modules.pitch import PitchModule
from spiritlm_pl.modules.skipped_steps import TrainingDivergedError
from spiritlm_pl.runtime.checkpoint import load_network
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAE, PitchVQVAEConfig


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


def make_module(**settings: Any) -> PitchModule:
    seed_everything(0, verbose=False)
    config = PitchVQVAEConfig(num_codes=16, dim=16, width=16, depth=2, f0_scale=20.0)
    return PitchModule(config, learning_rate=3e-3, **settings)


def make_trainer(folder: Path, steps: int, **settings: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        enable_checkpointing=False,
        **settings,
    )


def loader(*batches: F0Batch) -> Any:
    return DataLoader(batches, batch_size=None)


def fit(folder: Path, steps: int, ckpt_path: str | None = None, num_batches: int = 100) -> PitchModule:
    module = make_module()
    trainer = make_trainer(folder, steps, limit_val_batches=1, val_check_interval=50)
    train = loader(*(contours(seed % num_batches) for seed in range(100)))
    trainer.fit(module, train, loader(contours(1000)), ckpt_path=ckpt_path)
    trainer.save_checkpoint(folder / "end.ckpt")
    return module


@pytest.mark.parametrize(("precision", "kind"), [("bf16-true", "bfloat16"), ("16-true", "float16")])
def test_weights_in_half_precision_are_refused(tmp_path: Path, precision: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=f"weights must be float32 without DeepSpeed, .* is {kind} instead"):
        make_trainer(tmp_path, 1, precision=precision).fit(make_module(), *[loader(contours(0))] * 2)


class Waiting(Constant):
    """A schedule of somebody else's that waits for the length of the run."""

    waits_for_length = True


@pytest.mark.filterwarnings("ignore:the training ended after step 1 at 100% of its peak learning rate")
def test_a_rate_that_would_never_decay_is_refused(tmp_path: Path) -> None:
    """A run that ends with its epochs or its time has no number of steps, unless a callback tells it late."""
    data = [loader(contours(0))] * 2
    schedule = WarmupStableDecay(warmup_steps=1)
    for waiting in (schedule, Waiting(warmup_steps=1)):
        with pytest.raises(
            ValueError, match=r"schedule.total_steps must be given where the trainer has no max_steps and no"
        ):
            make_trainer(tmp_path, -1, max_epochs=1).fit(make_module(schedule=waiting), *data)
    for given, options in (
        (schedule, {"callbacks": [DecayInTime()], "max_time": "00:01:00:00", "max_epochs": 1}),
        (WarmupStableDecay(total_steps=4, warmup_steps=1), {"max_epochs": 1}),
    ):
        trainer = make_trainer(tmp_path, -1, limit_val_batches=0, **options)
        trainer.fit(make_module(schedule=given), *data)
        assert trainer.global_step == 1


def test_it_learns_and_is_exported(tmp_path: Path) -> None:
    figures = fit(tmp_path, 200).trainer.callback_metrics
    assert figures["val/voicing_error"] < 0.05 and figures["val/f0_rmse_hertz"] < 12
    assert figures["val/codes_used"] > 0.5 and figures["val/codes_entropy"] > 2
    module = fit(tmp_path, 1)
    module.export(str(tmp_path / "export"))
    network = load_network(tmp_path / "export", "pitch")
    batch = contours(3)
    assert isinstance(network, PitchVQVAE)
    assert torch.equal(network.encode(batch.contours), module.network.encode(batch.contours))


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
def test_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    same = {"num_batches": 1}  # this loader does not know where it was
    whole = fit(tmp_path / "whole", 20, **same)
    fit(tmp_path / "part", 10, **same)
    resumed = fit(tmp_path / "part", 20, ckpt_path=str(tmp_path / "part" / "end.ckpt"), **same)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def broken(seed: int, row: int | slice = 3) -> F0Batch:
    batch = contours(seed)
    spoilt = batch.contours.clone()
    spoilt[row, 0, 50] = torch.nan
    return replace(batch, contours=spoilt)


def test_a_batch_that_is_not_finite_leaves_the_weights(tmp_path: Path) -> None:
    clean, module = make_module(), make_module()
    make_trainer(tmp_path, 1).fit(clean, loader(contours(0)), loader(contours(9)))
    trainer = make_trainer(tmp_path, 2)
    trainer.fit(module, loader(contours(0), broken(1)), loader(contours(9)))
    assert module.skipped.total == 1 and trainer.callback_metrics["train/skipped_steps"] == 1
    for name, value in clean.network.named_parameters():
        assert torch.equal(value, module.network.get_parameter(name)), name
    codebook = module.network.codebook
    assert int(codebook.updates) == 2 and codebook.codes.isfinite().all() and codebook.sums.isfinite().all()
    assert not torch.equal(codebook.codes, clean.network.codebook.codes)  # it follows the finite rows


def test_training_goes_on_after_batches_of_nothing_finite(tmp_path: Path) -> None:
    lost = broken(0, slice(None))
    lost.contours[:] = torch.nan
    module = make_module()
    make_trainer(tmp_path, 4).fit(module, loader(lost, contours(0), lost, contours(1)), loader(contours(9)))
    assert module.skipped.total == 2 and int(module.network.codebook.updates) == 2
    for name, value in module.network.state_dict().items():
        assert value.isfinite().all(), name
    with pytest.raises(TrainingDivergedError, match="not for 2 steps in a row up to step 3"):
        make_trainer(tmp_path, 9).fit(
            make_module(max_nonfinite_steps=2), loader(lost, contours(0), lost, lost), loader(contours(9))
        )


def test_utterances_shorter_than_a_code_teach_nothing(tmp_path: Path) -> None:
    whole = contours(0)
    short = replace(whole, contours=whole.contours[..., 40:43], lengths=torch.full((16,), 3))
    clean, module = make_module(), make_module()
    make_trainer(tmp_path, 1).fit(clean, loader(contours(1)), loader(short))
    trainer = make_trainer(tmp_path, 2)
    trainer.fit(module, loader(short, contours(1)), loader(short))
    assert float(trainer.callback_metrics["val/loss"]) == 0 and module.skipped.total == 0
    assert torch.equal(module.network.codebook.counts, clean.network.codebook.counts)


def test_batches_without_voice_are_learnt(tmp_path: Path) -> None:
    silent = replace(contours(0), contours=torch.zeros(16, 2, 208), means=torch.zeros(16))
    trainer = make_trainer(tmp_path, 60)
    trainer.fit(make_module(), loader(*[silent] * 60), loader(silent))
    assert trainer.callback_metrics["val/voicing_error"] == 0 and "val/f0_rmse_cents" not in trainer.callback_metrics


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
