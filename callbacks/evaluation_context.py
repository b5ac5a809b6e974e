"""Evaluation of a network in the middle of training, which restores modes and random states afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from spiritlm_pl.contracts.check import checked
from spiritlm_pl.contracts.modules import WritingModule

Made = TypeVar("Made")


@contextmanager
def evaluation_context(trainer: Trainer, network: nn.Module) -> Iterator[None]:
    """Evaluate without gradients in the trainer's precision, and restore the previous state bit for bit.

    Args:
        trainer: trainer whose precision is used.
        network: network whose modules are set to evaluation mode, and each back to its previous mode.
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
    """Return the path of the text tokenizer of the module that a callback runs with.

    Args:
        pl_module: module that follows `spiritlm_pl.contracts.modules.WritingModule`.
        wanted_by: callback that asks for it, for the error.

    Raises:
        ValueError: if the module has no text tokenizer.
    """
    found = checked(pl_module, WritingModule, "module", wanted_by).text_tokenizer
    if found is None:
        raise ValueError(
            f"text_tokenizer must be given to {type(wanted_by).__name__} if {type(pl_module).__name__} has none, "
            "but is None in both instead"
        )
    return found


def on_rank_zero(trainer: Trainer, make: Callable[[], Made]) -> Made | None:
    """Return what rank zero makes, and None on other ranks; every rank must call it.

    An error on rank zero is raised on all ranks, which would otherwise wait for rank zero until a timeout.

    Args:
        trainer: trainer whose strategy connects the ranks.
        make: function that is called on rank zero alone.

    Raises:
        ValueError: on the other ranks, with the message of rank zero's error.
    """
    made: Made | None = None
    error: Exception | None = None
    if trainer.is_global_zero:
        try:
            made = make()
        except Exception as found:  # whatever it is, it is raised again below, once the other ranks know
            error = found
    refusal = trainer.strategy.broadcast(None if error is None else str(error))
    if error is not None:
        raise error
    if refusal is not None:
        raise ValueError(refusal)
    return made
