"""A run ends within its time, with a learning rate of zero, however long its steps take."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.callbacks import timer as lightning_timer
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.optim.lr_scheduler import LambdaLR

from spiritlm_pl.callbacks import decay_in_time
from spiritlm_pl.callbacks.decay_in_time import DecayInTime
from spiritlm_pl.lm.schedule import Constant, Schedule, WarmupStableDecay

pytestmark = [
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks"),
]


class Slow(BoringModel):
    """Model whose steps take a second of a clock of its own, or what `seconds` says of a step."""

    def __init__(self, clock: list[float], schedule: Schedule, seconds: Any = lambda step: 1.0) -> None:
        super().__init__()
        self.clock, self.schedule, self.seconds = clock, schedule, seconds
        self.rates: list[float] = []

    def training_step(self, batch: Any, batch_index: int) -> Any:
        self.clock[0] += self.seconds(self.global_step)
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return super().training_step(batch, batch_index)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 1.0)
        schedule = LambdaLR(optimizer, self.schedule.within(self.trainer.max_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    for module in (lightning_timer, decay_in_time):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def fit(
    model: Slow, seconds: int | None = 100, max_steps: int = 10_000, checkpoint: Path | None = None, **options: Any
) -> tuple[lightning.Trainer, DecayInTime]:
    callback = DecayInTime(fewest_steps=10)
    saved = [ModelCheckpoint(checkpoint, every_n_train_steps=80, save_top_k=-1)] if checkpoint else []
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=max_steps,
        max_time=None if seconds is None else timedelta(seconds=seconds),
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(saved),
        callbacks=[callback, *saved],
    )
    trainer.fit(model, **options)
    return trainer, callback


def test_the_run_ends_in_its_time_at_a_rate_of_zero(clock: list[float]) -> None:
    model = Slow(clock, WarmupStableDecay(warmup_steps=5, decay=0.3))
    trainer, callback = fit(model)
    assert callback.total_steps == trainer.global_step == 98
    assert model.rates[5:68] == [1.0] * 63 and model.rates[-1] == pytest.approx(1 / (0.3 * 98), rel=0.01)
    assert model.rates[70:] == sorted(model.rates[70:], reverse=True)
    [timer] = [one for one in trainer.callbacks if isinstance(one, Timer)]
    assert 1 <= (timer.time_remaining() or 0) <= 3


def test_slower_steps_make_it_shorter(clock: list[float]) -> None:
    model = Slow(clock, WarmupStableDecay(warmup_steps=5, decay=0.5), lambda step: 1.0 if step < 12 else 2.0)
    trainer, callback = fit(model)
    assert trainer.global_step == callback.total_steps == 55  # 12 s and 86 s
    assert model.rates[-1] < 0.1


def test_fewer_steps_than_fit_stay_as_they_are(clock: list[float]) -> None:
    model = Slow(clock, WarmupStableDecay(warmup_steps=5, decay=0.3))
    trainer, callback = fit(model, max_steps=50)
    assert trainer.global_step == 50 and callback.total_steps is None
    assert model.rates[34] == 1.0 and model.rates[-1] == pytest.approx(1 / 15)
    model = Slow(clock, WarmupStableDecay(warmup_steps=5, decay=0.3))
    assert fit(model, seconds=None, max_steps=30)[0].global_step == 30 and model.rates[-1] == pytest.approx(1 / 9)


def test_a_resumed_run_keeps_its_number_of_steps(clock: list[float], tmp_path: Path) -> None:
    model = Slow(clock, WarmupStableDecay(warmup_steps=5, decay=0.3))
    fit(model, checkpoint=tmp_path)
    [path] = tmp_path.glob("*step=80.ckpt")
    again = Slow(clock, WarmupStableDecay(warmup_steps=5, decay=0.3), lambda step: 0.1)
    trainer, callback = fit(again, ckpt_path=path, weights_only=False)
    assert trainer.global_step == callback.total_steps == 98
    assert again.rates == pytest.approx(model.rates[80:])


def test_a_run_that_ends_before_the_rate_has_decayed_says_so(clock: list[float]) -> None:
    with pytest.warns(UserWarning, match="ended after step 20 at 5.% of its peak learning rate"):  # within the warm-up
        fit(Slow(clock, WarmupStableDecay(warmup_steps=40)), seconds=20)
    slower = Slow(clock, WarmupStableDecay(warmup_steps=5, decay=0.3), lambda step: 1.0 if step < 80 else 4.0)
    with pytest.warns(UserWarning, match="at 4.% of its peak learning rate"):
        trainer, callback = fit(slower)
    assert callback.total_steps == 98 and trainer.global_step == 85


def test_a_resumed_run_on_a_slower_machine_has_its_own_number_of_steps(clock: list[float], tmp_path: Path) -> None:
    """As long as the number is not known: the checkpoint is of step 80, and the decay begins later."""
    fit(Slow(clock, WarmupStableDecay(warmup_steps=5, decay=0.1)), checkpoint=tmp_path)
    [path] = tmp_path.glob("*step=80.ckpt")
    again = Slow(clock, WarmupStableDecay(warmup_steps=5, decay=0.1), lambda step: 0.5)
    trainer, callback = fit(again, ckpt_path=path, weights_only=False)
    assert trainer.global_step == callback.total_steps == 116  # 18 s of 20 are left for steps of half a second
    assert again.rates[0] == 1.0 and again.rates[-1] < 0.1


@pytest.mark.filterwarnings("ignore:.max_epochs. was not set")
def test_what_cannot_be_is_told(clock: list[float]) -> None:
    with pytest.raises(ValueError, match="schedule must be WarmupStableDecay for DecayInTime"):
        fit(Slow(clock, Constant(2)))
    with pytest.raises(ValueError, match="trainer.max_time or trainer.max_steps must be given for DecayInTime"):
        fit(Slow(clock, WarmupStableDecay(warmup_steps=5)), seconds=None, max_steps=-1)
    with pytest.raises(ValueError, match=r"margin must be in \[0, 1\), but is 1 instead"):
        DecayInTime(margin=1)
    with pytest.raises(ValueError, match="fewest_steps must be at least 2, but is 1 instead"):
        DecayInTime(fewest_steps=1)
