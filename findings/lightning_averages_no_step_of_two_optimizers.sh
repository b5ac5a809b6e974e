#!/bin/sh
# lightning 2.6.6: `EMAWeightAveraging` of a network with two optimizers, as a GAN or a neural vocoder has, averages no step at
#   all if `update_every_n_steps` is even; validation, checkpoints and the trained model then are the weights before training.
#
# Expected: every n-th step enters the average, with which the network is validated and which it has after `fit`: "During
#   validation and after the training finishes, the current model parameters will be replaced with the averaged values."
# Seen: of 100 batches with manual optimization of a generator and a discriminator, `update_every_n_steps` of 2, 4 or 10 never
#   updates the average. Each validation runs with the initial weights, the checkpoint has them as `state_dict`, and at the end
#   they replace the trained ones in memory, without a word. 1 averages each batch, 3 every third. With one optimizer all are
#   right.
# Why: the trainer counts the steps of both optimizers, so after a batch the number of steps is even, and the last step's
#   index, from 0, is odd; the callback looks after batches only, and asks for an index that n divides.
# Source: lightning/pytorch/callbacks/weight_averaging.py, `on_train_batch_end` (`step_idx = trainer.global_step - 1`) and
#   `EMAWeightAveraging.should_update`. That `global_step` counts optimizers' steps is documented:
#   https://lightning.ai/docs/pytorch/stable/common/trainer.html#global-step
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has both
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet lightning==2.6.6 torch==2.14.1 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
cat > train.py <<'PY'
import logging
import warnings

import lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.utils.data import DataLoader

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")


class Module(lightning.LightningModule):
    """A generator that learns to answer 1 to 1, from a weight of 0, and a discriminator beside it or not."""

    def __init__(self, optimizers):
        super().__init__()
        self.automatic_optimization = False
        self.generator = torch.nn.Linear(1, 1, bias=False)
        self.discriminator = torch.nn.Linear(1, 1)
        torch.nn.init.zeros_(self.generator.weight)
        self.count, self.validated, self.trained = optimizers, [], 0.0

    def configure_optimizers(self):
        both = [torch.optim.SGD(network.parameters(), 0.1) for network in (self.generator, self.discriminator)]
        return both[: self.count]

    def training_step(self, batch, batch_idx):
        optimizers = self.optimizers() if self.count > 1 else [self.optimizers()]
        answer = self.generator(batch)
        losses = [(answer - batch).square().mean(), self.discriminator(answer.detach()).square().mean()]
        for optimizer, loss in zip(optimizers, losses):
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.trained = self.generator.weight.item()

    def validation_step(self, batch, batch_idx):
        self.validated.append(self.generator.weight.item())


def train(optimizers, every):
    module = Module(optimizers)
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[EMAWeightAveraging(decay=0.5, update_every_n_steps=every)],
    )
    loader = DataLoader(torch.ones(50, 1))
    trainer.fit(module, loader, loader)
    saved = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)["state_dict"]
    found = [max(module.validated), saved["generator.weight"].item(), module.generator.weight.item()]
    print(f"{optimizers} optimizers, every {every} steps: trained to {module.trained:.2f};", end=" ")
    print("validated with {:.2f}, saved {:.2f}, after the end {:.2f}".format(*found))
    return module.trained, found


print("lightning", lightning.__version__)
for optimizers, every in ((1, 2), (1, 10), (2, 1), (2, 3)):
    trained, found = train(optimizers, every)
    assert min([trained, *found]) > 0.9
changed = False
for every in (2, 4, 10):
    trained, found = train(2, every)
    assert trained > 0.9
    changed |= found != [0, 0, 0]
if changed:
    raise SystemExit("an even number of steps enters the average now")
PY
"$python" train.py 2> errors.log || { tail -n 1 errors.log; exit 1; }
