"""Checkpoints of an adapter's training: they hold the adapter alone, and go on with the same adapter and base alone."""

from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from spiritlm_pl.adapters.folder import AdapterDescription, check_computation
from spiritlm_pl.lm.base_model import checkpoint_config, model_folder
from spiritlm_pl.lm.build import LanguageModelConfig, network_config
from spiritlm_pl.lm.identity import computation, weights_hash
from spiritlm_pl.streams import differences
from spiritlm_pl.vocabulary import Vocabulary


def check_base(settings: LanguageModelConfig, vocabulary: Vocabulary) -> str:
    """Check that an adapter's network computes as its checkpoint says, without which the adapter is used; hash it.

    Args:
        settings: choice of the network, and how it is run.
        vocabulary: layout of the token ids.

    Returns:
        The hash of the checkpoint's weights.

    Raises:
        ValueError: if there is no checkpoint, or its configuration is changed.
    """
    if settings.checkpoint is None:
        raise ValueError("network must have a checkpoint where an adapter is trained, but has none")
    folder = model_folder(settings.checkpoint, "checkpoint")
    own, trained = (computation(one) for one in (checkpoint_config(str(folder)), network_config(settings, vocabulary)))
    if own != trained:
        kept, found = differences(own, trained)
        raise ValueError(
            f"network must have the configuration of {settings.checkpoint} where an adapter is trained, since it is "
            f"used with it, with {kept or 'no more'}, but is with {found or 'no more'} instead: leave rope_theta and "
            "config out, or change config.json of the model"
        )
    return weights_hash(folder)


def leave_out_frozen(checkpoint: dict[str, Any], module: nn.Module) -> None:
    """Leave all but the trained weights out of a checkpoint that is one file; the shards of FSDP2 stay as they are.

    Args:
        checkpoint: checkpoint of the trainer, which is changed in place.
        module: module whose weights it holds.
    """
    state: dict[str, Tensor] = checkpoint.get("state_dict", {})
    if not any(isinstance(value, DTensor) for value in state.values()):
        trained = _trained(module)
        checkpoint["state_dict"] = {name: value for name, value in state.items() if name in trained}


def put_back_frozen(checkpoint: dict[str, Any], module: nn.Module) -> None:
    """Put what `leave_out_frozen` has left out back into a checkpoint, from a module that has loaded its base model.

    What quantized layers add to their state is no weight, and no layer takes it.

    Args:
        checkpoint: checkpoint of the trainer, which is changed in place; shards that lie elsewhere need nothing.
        module: module that is to load it.
    """
    if "state_dict" not in checkpoint:
        return
    known = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    known |= {name for name, _ in module.named_buffers(remove_duplicate=False)}
    known -= _trained(module)
    frozen = {name: value for name, value in module.state_dict().items() if name in known}
    checkpoint["state_dict"] = {**frozen, **checkpoint["state_dict"]}


def _trained(module: nn.Module) -> set[str]:
    return {name for name, value in module.named_parameters(remove_duplicate=False) if value.requires_grad}


def check_same(saved: dict[str, Any] | None, own: AdapterDescription | None) -> None:
    """Compare the adapter of a checkpoint with the one that is trained.

    Args:
        saved: its description in the checkpoint; None if there is none.
        own: description of the one that is trained; None if none is.

    Raises:
        ValueError: if they differ.
    """
    if saved is None or own is None:
        if saved is not None or own is not None:
            wanted, found = ("no adapter", "one")[:: 1 if saved is None else -1]
            raise ValueError(f"adapter must be as in the run of the checkpoint, with {wanted}, but there is {found}")
        return
    if saved["base_hash"] != own.base_hash:
        raise ValueError(
            f"checkpoint of the network must be the base model of the adapter, {saved['base']} with the hash "
            f"{saved['base_hash'][:12]}, but is {own.base} with {own.base_hash[:12]} instead"
        )
    ignored = {"base_model_name_or_path": None, "peft_version": None}
    theirs, ours = {**saved["peft"], **ignored}, {**own.peft, **ignored}
    if theirs != ours:
        before, now = differences(theirs, ours)
        raise ValueError(f"adapter must be as in the run of the checkpoint, with {before}, but is with {now}")
    check_computation(saved.get("computation", {}), own.computation, own.base)
