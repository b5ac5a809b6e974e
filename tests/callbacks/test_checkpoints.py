"""Training goes on where a checkpoint cannot be written, and the last good ones stay."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.plugins.io import TorchCheckpointIO

from spiritlm_pl.callbacks.checkpoints import PatientCheckpoint, made_patient
from spiritlm_pl.runtime.claims import WRITER
from spiritlm_pl.runtime.left_over import this_machine


class FullDisk(TorchCheckpointIO):
    """Has no room for the checkpoints of some steps, or of these for those with a word in their names."""

    def __init__(self, steps: set[int], error: Exception, word: str = "") -> None:
        super().__init__()
        self.steps, self.error, self.word = steps, error, word

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if checkpoint["global_step"] in self.steps and self.word in Path(path).name:
            raise self.error
        super().save_checkpoint(checkpoint, path, storage_options)


def checkpoint(folder: Path, **options: Any) -> ModelCheckpoint:
    usual = {"every_n_train_steps": 1, "save_top_k": 2, "monitor": "step", "mode": "max", "save_last": "link"}
    callback = ModelCheckpoint(folder, filename="{step}", **(usual | options))
    before = callback.state_key
    made_patient(callback)
    assert type(callback) is PatientCheckpoint and callback.state_key == before
    return callback


def trainer(
    folder: Path, steps: int, full: set[int], error: Exception, word: str = "", **options: Any
) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[checkpoint(folder, **options)],
        plugins=[FullDisk(full, error, word)],
    )


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")]
)
def test_a_full_disk_stops_only_saving(tmp_path: Path, error: Exception) -> None:
    with pytest.warns(UserWarning) as warned:
        trainer(tmp_path, 6, {3, 4, 5, 6}, error).fit(BoringModel())
    told = [str(one.message) for one in warned if "no checkpoint was saved" in str(one.message)]
    assert [message.partition(",")[0] for message in told] == [
        f"no checkpoint was saved at step {n}" for n in (3, 4, 5, 6)
    ]
    assert all(str(error) in message for message in told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "step=1.ckpt", "step=2.ckpt"]
    assert (tmp_path / "last.ckpt").resolve().name == "step=2.ckpt"
    assert torch.load(tmp_path / "last.ckpt", weights_only=False)["global_step"] == 2

    trainer(tmp_path, 4, set(), error).fit(BoringModel(), ckpt_path=tmp_path / "step=2.ckpt", weights_only=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "last.ckpt",
        "step=2.ckpt",  # from which it goes on
        "step=3.ckpt",
        "step=4.ckpt",
    ]


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_two_fits_do_not_save_to_one_folder(tmp_path: Path) -> None:
    folder, error = tmp_path / "checkpoints", OSError(errno.ENOSPC, "No space left on device")
    claim = tmp_path / f".checkpoints{WRITER}.1.json"
    claim.write_text(json.dumps({"host": "b", "machine": this_machine(), "process": os.getppid(), "since": 0}))
    with pytest.raises(ValueError, match=r"^dirpath of ModelCheckpoint must be a folder that no other .* on b wri"):
        trainer(folder, 1, set(), error).fit(BoringModel())
    assert [*tmp_path.iterdir()] == [claim]
    trainer(folder, 1, set(), error, save_top_k=0, save_last=False).fit(BoringModel())  # which saves nothing
    assert [*tmp_path.iterdir()] == [claim]
    claim.write_text(json.dumps({"machine": this_machine(), "process": 2**22 + 1}))  # of a job that was killed
    trainer(folder, 1, set(), error).fit(BoringModel())
    assert [*tmp_path.iterdir()] == [folder] and (folder / "step=1.ckpt").is_file()


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_fit_that_fails_gives_its_folder_back(tmp_path: Path) -> None:
    class Fails(BoringModel):
        def on_train_start(self) -> None:
            raise OSError("no such disk")

    with pytest.raises(OSError, match="no such disk"):
        trainer(tmp_path / "checkpoints", 1, set(), OSError()).fit(Fails())
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("monitor", ["step", None])
def test_a_disk_with_room_for_one_of_two(tmp_path: Path, monitor: str | None) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    made = trainer(tmp_path, 4, {2, 3, 4}, full, word="last", save_top_k=1, save_last=True, monitor=monitor)
    with pytest.warns(UserWarning, match=r"step=\d.ckpt alone was saved at step \d, and earlier ones stay") as warned:
        made.fit(BoringModel())
    assert len([one for one in warned if "alone was saved" in str(one.message)]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "step=4.ckpt"]
    callback = made.checkpoint_callback
    assert isinstance(callback, ModelCheckpoint)
    assert callback.best_model_path == str(tmp_path / "step=4.ckpt")
    assert callback.last_model_path == str(tmp_path / "last.ckpt")
    assert list(callback.best_k_models) == [callback.best_model_path] * (monitor is not None)
    assert torch.load(tmp_path / "last.ckpt", weights_only=False)["global_step"] == 1


class Failing(BoringModel):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 2:
            raise KeyError("the error itself")
        return super().training_step(batch, batch_idx)


def test_an_error_is_told_although_its_checkpoint_cannot_be_saved(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    made = trainer(tmp_path, 4, {2}, full, every_n_train_steps=100, save_on_exception=True)
    with pytest.warns(UserWarning, match="no checkpoint was saved at step 2"), pytest.raises(KeyError, match="itself"):
        made.fit(Failing())


def test_other_errors_end_the_training(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="something else"):
        trainer(tmp_path, 3, {2}, RuntimeError("something else")).fit(BoringModel())


def test_links_that_cannot_be_made_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.symlink", no_room)
    monkeypatch.setattr(shutil, "copy", no_room)
    trainer(tmp_path, 2, set(), OSError()).fit(BoringModel())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step=1.ckpt", "step=2.ckpt"]
