"""Looking at a network in the middle of training without leaving a trace: modes and random states come back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn


@contextmanager
def evaluation_context(trainer: Trainer, network: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, the trainer's precision; afterwards all is as before, bit for bit.

    Args:
        trainer: whose precision is used.
        network: whose modules are switched, each back to its own mode.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with isolate_rng(), torch.no_grad(), trainer.precision_plugin.forward_context():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def part(pl_module: LightningModule, name: str, wanted_by: str) -> object:
    """An attribute that a callback needs of the module it watches.

    Raises:
        ValueError: if the module has none.
    """
    value = getattr(pl_module, name, None)
    if value is None:
        raise ValueError(f"{wanted_by} needs a module with {name}, but {type(pl_module).__name__} has none")
    return value
