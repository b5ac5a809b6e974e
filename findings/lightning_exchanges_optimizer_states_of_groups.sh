#!/bin/sh
# lightning 2.6.6: `ModelParallelStrategy` gives parameters the optimizer states of others, without a word, when it loads
#   a single-file checkpoint of a plain trainer whose optimizer has parameter groups in another order than the model.
#
# Expected: the averages that were saved for layer 0 at layer 0, as a plain trainer loads them.
# Seen: averages of the two layers exchanged; with parameters of other shapes, a RuntimeError over a shape.
# Source: lightning/fabric/strategies/model_parallel.py, `_rekey_optimizer_state_if_needed`: the numbers in a state follow
#   the order of the optimizer's groups, but `FSDP.rekey_optim_state_dict` takes them for places in `model.parameters()`.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet lightning==2.6.6 torch
    python="$folder/venv/bin/python"
fi
cd "$folder"
cat > train.py <<'PY'
import sys

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader


class Module(lightning.LightningModule):
    def configure_model(self):
        if not hasattr(self, "layers"):
            torch.manual_seed(0)
            self.layers = torch.nn.Sequential(*(torch.nn.Linear(4, 4, bias=False) for _ in range(2)))
            if self.device_mesh is not None:
                fully_shard(self.layers, mesh=self.device_mesh["data_parallel"])

    def configure_optimizers(self):
        first, second = self.layers.parameters()
        return torch.optim.AdamW([{"params": [second], "lr": 1e-2}, {"params": [first], "lr": 1e-3}])

    def training_step(self, batch, index):
        return self.layers(batch).square().sum()

    def averages(self):
        state = self.optimizers().optimizer.state
        tensors = [state[weight]["exp_avg"] for weight in self.layers.parameters()]
        return [round(float(getattr(t, "full_tensor", lambda: t)().norm()), 4) for t in tensors]

    def on_train_start(self):
        if self.trainer.global_step:
            print("loaded:", self.averages(), flush=True)
            expected = [float(value) for value in sys.argv[2:]]
            assert self.averages() == expected[::-1] != expected, "it is repaired now"


def trainer(strategy, steps):
    silent = {name: False for name in ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")}
    return lightning.Trainer(accelerator="cpu", devices=1, max_steps=steps, strategy=strategy, **silent)


rows, module = DataLoader(torch.arange(40.0).view(10, 4) / 40), Module()
if sys.argv[1] == "save":
    plain = trainer("auto", 2)
    plain.fit(module, rows)
    plain.save_checkpoint("plain.ckpt")
    print("saved:", *module.averages())
else:
    trainer(ModelParallelStrategy(1, 1), 3).fit(module, rows, ckpt_path="plain.ckpt")
PY
saved=$("$python" train.py save 2> /dev/null | grep saved:)
echo "$saved"
"$python" train.py load ${saved#saved:} 2>&1 | grep -e loaded: -e Error
