"""A run whose checkpoint is from before its configuration had a schedule of the learning rate goes on at its step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from spiritlm_pl.lm.schedule import Cosine, Schedule
from spiritlm_pl.modules.stage import FiniteStepsModule

RATE = 0.1


class Stepped(FiniteStepsModule):
    """A network of one layer, whose rates are noted."""

    def __init__(self, schedule: Schedule | None) -> None:
        super().__init__()
        self.network, self.schedule = nn.Linear(2, 1), schedule
        self.rates: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        loss: Tensor = self.network(batch).square().sum()
        return loss

    def train_dataloader(self) -> Any:
        return DataLoader(torch.ones(20, 2))  # type: ignore[arg-type]  # a tensor is a data set

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=RATE)
        if self.schedule is None:
            return optimizer
        scheduler = LambdaLR(optimizer, self.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def rates(steps: int, schedule: Schedule | None, folder: Path, checkpoint: Path | None = None) -> list[float]:
    """Train to a step, leave a checkpoint, and return the rate of each step."""
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = Trainer(accelerator="cpu", max_steps=steps, default_root_dir=folder, **quiet)  # type: ignore[arg-type]
    module = Stepped(schedule)
    trainer.fit(module, ckpt_path=checkpoint, weights_only=False)
    trainer.save_checkpoint(folder / f"{steps}.ckpt")
    return module.rates


@pytest.mark.filterwarnings("ignore")
def test_a_schedule_that_the_checkpoint_had_not_goes_on_at_the_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cosine = Cosine(total_steps=12, warmup_steps=2)
    assert rates(6, None, tmp_path) == [RATE] * 6
    expected = pytest.approx([RATE * cosine(step) for step in range(6, 9)])
    assert rates(9, cosine, tmp_path, tmp_path / "6.ckpt") == expected
    assert "the checkpoint has no schedule of the learning rate, which goes on as at step 6" in caplog.text
    caplog.clear()
    assert rates(12, cosine, tmp_path, tmp_path / "9.ckpt") == pytest.approx([RATE * cosine(s) for s in range(9, 12)])
    assert "no schedule of" not in caplog.text  # the checkpoint has it now


@pytest.mark.filterwarnings("ignore")
def test_a_schedule_that_is_not_there_any_more_is_refused(tmp_path: Path) -> None:
    """Its last rate would stay to the end, without a word."""
    rates(6, Cosine(total_steps=12, warmup_steps=2), tmp_path)
    with pytest.raises(ValueError, match=r"^checkpoint must have as many schedules .*, 0, but has 1: go on with the"):
        rates(9, None, tmp_path, tmp_path / "6.ckpt")
