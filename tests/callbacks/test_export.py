"""The folder of an export belongs to one fit at a time."""

import json
import os
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.strategies import SingleDeviceStrategy

from spiritlm_pl.callbacks.export import ExportNetwork
from spiritlm_pl.runtime.claims import WRITER
from spiritlm_pl.runtime.left_over import this_machine

BEGUN = "another one has begun to write to models/lm while this one stood still: make it again"


class Exported(BoringModel):
    """Module that needs a new folder, and may fail before, or lose it to another fit."""

    def __init__(self, fails: bool = False, loses: bool = False) -> None:
        super().__init__()
        self.fails, self.loses = fails, loses

    def on_train_start(self) -> None:
        assert [*Path("models").glob(f".lm{WRITER}.*.json")] and not Path("models/lm").exists()
        if self.fails:
            raise OSError("no such disk")
        if self.loses:
            (claim,) = Path("models").glob(f".lm{WRITER}.*.json")
            claim.rename(f"models/.lm{WRITER}.2.json")
            Path("models/lm").mkdir()
            Path("models/lm/weights.pt").write_text("of another fit")

    def export(self, folder: str) -> None:
        assert not self.loses
        Path(folder).mkdir(parents=True)
        torch.save(self.state_dict(), Path(folder) / "weights.pt")


def fit(**module: bool) -> None:
    trainer = Trainer(
        accelerator="cpu",
        max_steps=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ExportNetwork("models/lm")],
    )
    trainer.fit(Exported(**module))


@pytest.mark.filterwarnings("ignore")
def test_two_fits_do_not_export_to_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="no such disk"):
        fit(fails=True)
    assert not Path("models").exists()  # the claim is given back, and what was made for it
    Path("models").mkdir()
    claim = Path(f"models/.lm{WRITER}.1.json")
    claim.write_text(json.dumps({"host": "b", "machine": this_machine(), "process": os.getppid(), "since": 0}))
    with pytest.raises(
        ValueError, match=r"^dirpath of ExportNetwork must be a folder that no other .* on b writes to mo"
    ):
        fit()
    assert [*Path("models").iterdir()] == [claim]
    claim.write_text(json.dumps({"machine": this_machine(), "process": 2**22 + 1}))  # of a job that was killed
    fit()
    assert [path.name for path in Path("models").iterdir()] == ["lm"]
    assert Path("models/lm/weights.pt").is_file()


@pytest.mark.filterwarnings("ignore")
def test_a_folder_that_cannot_be_written_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").touch()
    with pytest.raises(ValueError, match="^dirpath of ExportNetwork must be a folder that can be written, but models/"):
        fit(fails=True)  # with another error, once it trains


@pytest.mark.filterwarnings("ignore")
def test_a_fit_that_has_lost_the_folder_leaves_the_network_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All ranks are told so, before they gather weights."""
    monkeypatch.chdir(tmp_path)
    told: list[str | None] = []
    broadcast = SingleDeviceStrategy.broadcast

    def noted(strategy: SingleDeviceStrategy, found: str | None, src: int = 0) -> str | None:
        told.append(found)
        sent: str | None = broadcast(strategy, found, src)
        return sent

    monkeypatch.setattr(SingleDeviceStrategy, "broadcast", noted)
    with pytest.raises(ValueError, match=f"^dirpath of ExportNetwork must .* {BEGUN}") as caught:
        fit(loses=True)
    assert told[-1] == str(caught.value)
    assert Path("models/lm/weights.pt").read_text() == "of another fit"
    assert sorted(path.name for path in Path("models/lm").parent.iterdir()) == [f".lm{WRITER}.2.json", "lm"]
    fails_elsewhere = ExportNetwork("models/lm")  # as on another rank, which has no claim
    monkeypatch.setattr(SingleDeviceStrategy, "broadcast", lambda strategy, found, src=0: str(caught.value))
    with pytest.raises(ValueError, match=BEGUN):
        fails_elsewhere.on_fit_end(Trainer(accelerator="cpu", logger=False), Exported(loses=True))
