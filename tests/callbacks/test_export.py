"""The folder of an export belongs to one fit at a time."""

import json
import os
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from spiritlm_pl.callbacks.export import ExportNetwork
from spiritlm_pl.runtime.claims import WRITER
from spiritlm_pl.runtime.left_over import this_machine


class Exported(BoringModel):
    """Module that needs a new folder, and may fail before."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.fails = fails

    def on_train_start(self) -> None:
        assert [*Path("models").glob(f".lm{WRITER}.*.json")] and not Path("models/lm").exists()
        if self.fails:
            raise OSError("no such disk")

    def export(self, folder: str) -> None:
        Path(folder).mkdir(parents=True)
        torch.save(self.state_dict(), Path(folder) / "weights.pt")


def fit(fails: bool = False) -> None:
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
    trainer.fit(Exported(fails))


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
