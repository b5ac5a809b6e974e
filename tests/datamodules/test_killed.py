"""Kill -9 in the middle of training, resume with another number of workers: every later batch is the same."""

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from spiritlm_pl.data.blocks import write_block, write_manifest
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.vocabulary import Vocabulary

TRAIN = """
import os, signal, sys
from pathlib import Path
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from spiritlm_pl.datamodules.interleaved import InterleavedDataModule, StreamConfig
from spiritlm_pl.data.interleave import Interleaving

blocks, folder, log, workers, die_at = sys.argv[1:]

class Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
    def training_step(self, batch, _):
        assert batch.step == self.global_step
        if self.global_step == int(die_at):
            os.kill(os.getpid(), signal.SIGKILL)
        with open(log, "a") as stream:
            tokens = hash(tuple(batch.tokens.flatten().tolist()))
            print(batch.step, tokens, batch.loss_mask.sum().item(), file=stream)
        return self.weight * batch.tokens.float().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

streams = {kind: StreamConfig(folder=blocks) for kind in ("text", "aligned")}
data = InterleavedDataModule(streams, row_length=64, batch_size=2, num_workers=int(workers),
                             interleaving=Interleaving(text_span=(4, 10), speech_span=(3, 6)))
trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, max_steps=12,
                  limit_val_batches=0, enable_model_summary=False,
                  callbacks=[ModelCheckpoint(folder, every_n_train_steps=3, save_last=True, save_top_k=1)])
last = Path(folder) / "last.ckpt"
trainer.fit(Model(), data, ckpt_path=last if last.exists() else None, weights_only=False)
"""


def train(python: Path, tmp_path: Path, name: str, workers: int, die_at: int) -> tuple[int, dict[int, str]]:
    log = tmp_path / f"{name}.log"
    arguments = [str(tmp_path / "blocks"), str(tmp_path / name), str(log), str(workers), str(die_at)]
    done = subprocess.run(
        [python, "-c", TRAIN, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    return done.returncode, {int(step): rest for step, rest in lines}


@pytest.mark.slow
def test_every_batch_after_a_kill_is_the_same(python: Path, tmp_path: Path) -> None:
    vocabulary = Vocabulary.spirit_lm(num_text=100, num_units=30, multiple_of=1)
    rng = np.random.default_rng(0)
    for kind, units in (("text", 0), ("aligned", 5)):
        documents = [
            Document(
                number,
                [WordIds(rng.integers(0, 100, 2).tolist(), rng.integers(102, 132, units).tolist()) for _ in range(20)],
            )
            for number in range(30)
        ]
        folder = tmp_path / "blocks" / "train" / kind
        write_manifest(folder, kind, vocabulary, [write_block(folder, 0, documents, vocabulary)], {})
    code, whole = train(python, tmp_path, "whole", workers=0, die_at=-1)
    assert code == 0 and sorted(whole) == list(range(12))
    code, killed = train(python, tmp_path, "killed", workers=2, die_at=8)
    assert code == -signal.SIGKILL and sorted(killed) == list(range(8))
    code, resumed = train(python, tmp_path, "killed", workers=1, die_at=-1)
    assert code == 0 and resumed == whole  # the log of the killed run goes on, steps 6 and 7 were done again
