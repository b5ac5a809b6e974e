#!/bin/sh
# lightning 2.6.6: a training that resumes within an epoch never sees one batch, if its loader keeps its state but has no
#   length.
#
# Expected: a loader with `state_dict` and `load_state_dict`, such as torchdata's StatefulDataLoader, goes on after the last
#   batch that was trained. Of other loaders Lightning warns that resuming "can cause unreliable results", and asks to "make
#   your dataloader resumable by implementing the `state_dict` / `load_state_dict` interface".
# Seen: a checkpoint after step 3 has the state after the fourth batch. The resumed run trains batches 5, 6, ...; batch 4 is
#   lost with each interruption, for each rank, without a word. The same loader with `__len__` loses none. Loaders of
#   streams (an IterableDataset without a length, as of speech corpora in shards) are those that have no length.
# Why: without a length Lightning takes a batch ahead, to know which is the last; the state is asked of the loader, which
#   has already given that batch.
# Source: lightning/pytorch/loops/fetchers.py, `_PrefetchDataFetcher.__iter__` and `__next__`, and
#   lightning/pytorch/loops/fit_loop.py, `on_save_checkpoint`, which saves `combined_loader._state_dicts()`.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has all three
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet lightning==2.6.6 torchdata==0.11.0 torch
    python="$folder/venv/bin/python"
fi
cd "$folder"
cat > train.py <<'PY'
import logging
import warnings
from importlib.metadata import version
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import Dataset, IterableDataset
from torchdata.stateful_dataloader import StatefulDataLoader

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.arange(1.0, 13.0))


class Sized(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, place):
        return torch.tensor(place + 1.0)


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), []

    def training_step(self, batch, batch_idx):
        self.seen += batch.int().tolist()
        return (self.weight * batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def train(dataset, checkpoint=None):
    module = Module()
    trainer = lightning.Trainer(
        max_steps=6 if checkpoint else 5,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint("saved", filename="{step}", every_n_train_steps=3, save_top_k=-1)],
    )
    trainer.fit(module, StatefulDataLoader(dataset, batch_size=1), ckpt_path=checkpoint)
    return module.seen


print("lightning", lightning.__version__, "torchdata", version("torchdata"))
after = {}
for name, dataset in (("with a length", Sized()), ("without a length", Stream())):
    before = train(dataset)
    after[name] = train(dataset, "saved/step=3.ckpt")
    Path("saved/step=3.ckpt").unlink()
    print(f"{name}: trained {before}, saved after 3; resumed with {after[name]}")
assert after["with a length"] == [4, 5, 6]
if after["without a length"][0] == 4:
    raise SystemExit("it resumes with the next batch now")
PY
"$python" train.py 2> errors.log || { tail -n 1 errors.log; exit 1; }
