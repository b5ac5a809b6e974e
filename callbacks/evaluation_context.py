"""Looking at a network in the middle of training without leaving a trace: modes and random states come back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from spiritlm_pl.contracts.check import checked
from spiritlm_pl.contracts.modules import WritingModule


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


def text_tokenizer_of(pl_module: LightningModule, wanted_by: object) -> str:
    """The text tokenizer of the module that a callback watches.

    Args:
        pl_module: keeps `spiritlm_pl.contracts.modules.WritingModule`.
        wanted_by: the callback, for the error.

    Raises:
        ValueError: if the module has none.
    """
    found = checked(pl_module, WritingModule, "module", wanted_by).text_tokenizer
    if found is None:
        raise ValueError(
            f"text_tokenizer must be given to {type(wanted_by).__name__} where {type(pl_module).__name__} has none, "
            "but neither is"
        )
    return found
