"""Putting an adapter into a network that `build_network` has built; its class stays, and all but the adapter is frozen.

The updates of linear layers are those of the library peft. Rows of embeddings are `TrainedRows` and the output layer of
this package, which gives gradients to trained rows alone. Their folders are in peft's format all the same.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from spiritlm_pl.adapters.rows import TrainedRows
from spiritlm_pl.adapters.settings import LoRA
from spiritlm_pl.lm.flops import weight_size
from spiritlm_pl.lm.loss import LossHead
from spiritlm_pl.lm.shrink import unsharded
from spiritlm_pl.vocabulary import Vocabulary

ADAPTER_NAME = "default"  # peft's name of a single adapter


def put_adapter(network: PreTrainedModel, settings: LoRA, vocabulary: Vocabulary) -> None:
    """Put an adapter into a network in place; it changes nothing yet. The same seed draws the same one on every rank.

    Weights that are trained are float32, or of the network's type where ZeRO-3, which has float32 copies, has sharded
    it.

    Args:
        network: network that `build_network` has built.
        settings: settings of the adapter.
        vocabulary: layout of the token ids.

    Raises:
        ValueError: if the network lacks a layer that the settings name, or its rows cannot be trained apart.
    """
    from peft import inject_adapter_in_model

    config = peft_config(network, settings, vocabulary)
    config.trainable_token_indices = None  # trained by our own layers
    sharded = any(hasattr(parameter, "ds_id") for parameter in network.parameters())
    with unsharded(), torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        inject_adapter_in_model(config, cast(nn.Module, network), ADAPTER_NAME)
        _train_rows(network, trained_range(settings, vocabulary))
    if not sharded:
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()


def trained_range(settings: LoRA, vocabulary: Vocabulary) -> tuple[int, int]:
    """Return first and end id (exclusive) of the tokens whose rows are trained."""
    first, end = {"new": (vocabulary.num_text, vocabulary.num_tokens), "all": (0, vocabulary.num_rows), "none": (0, 0)}[
        settings.embeddings
    ]
    return first, end


def peft_config(network: PreTrainedModel, settings: LoRA, vocabulary: Vocabulary) -> Any:
    """Return peft's configuration of an adapter of a network, with or without the adapter in it.

    Raises:
        ValueError: as `put_adapter`.
    """
    from peft import LoraConfig

    rows: dict[str, list[int]] = {}
    first, end = trained_range(settings, vocabulary)
    if end > first:
        rows = {name: [*range(first, end)] for name in _row_layers(network)}
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=_targets(network, settings),
        trainable_token_indices=rows or None,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in network.modules()),  # GPT-2's form of a matrix
    )


def _row_layers(network: PreTrainedModel) -> list[str]:
    """Return the names of the layers whose rows are trained: the embedding, and the output layer if it is not tied."""
    inputs, outputs = network.get_input_embeddings(), network.get_output_embeddings()
    if not isinstance(inputs, nn.Embedding | TrainedRows) or not isinstance(outputs, LossHead):
        raise ValueError(f"embeddings must be none with {network.config.model_type}, whose embedding is {inputs}")
    tied = inputs.weight is outputs.weight
    if outputs.bias is not None:
        raise ValueError(
            f"embeddings must be none with {network.config.model_type}, as peft leaves out the biases of its output "
            "layer where rows of it are trained"
        )
    names = {id(module): name for name, module in network.named_modules()}
    return [names[id(inputs)]] if tied else [names[id(inputs)], names[id(outputs)]]


def _targets(network: PreTrainedModel, settings: LoRA) -> list[str]:
    """Return the last names of the linear layers that get an update."""
    linear = _last_names(name for name, module in network.named_modules() if isinstance(module, nn.Linear | Conv1D))
    linear |= _last_names(name for name, module in network.named_modules() if hasattr(module, "base_layer"))
    linear -= {"base_layer", ADAPTER_NAME}  # within an adapter
    for name in settings.target_modules or ():
        if name not in linear:
            raise ValueError(f"target_modules must name some of {', '.join(sorted(linear))}, but one is {name!r}")
    if not linear:
        raise ValueError(f"network must have linear layers, but {network.config.model_type} has none")
    return sorted(settings.target_modules or linear)


def _last_names(names: Iterable[str]) -> set[str]:
    return {name.rpartition(".")[2] for name in names}


def _train_rows(network: PreTrainedModel, bounds: tuple[int, int]) -> None:
    first, end = bounds
    if end == first:
        return
    inputs, outputs = network.get_input_embeddings(), cast(LossHead, network.get_output_embeddings())
    tied = inputs.weight is outputs.weight
    rows = nn.Parameter(_rows(cast(Tensor, inputs.weight), first, end))
    network.set_input_embeddings(TrainedRows(inputs, rows, first))
    outputs.train_rows(rows if tied else nn.Parameter(_rows(outputs.weight, first, end)), first)


def _rows(weight: Tensor, first: int, end: int) -> Tensor:
    with _whole(weight), torch.no_grad():
        return weight[first:end].detach().clone()


def _whole(weight: Tensor) -> Any:
    """Return a context in which a weight is whole, also one that ZeRO-3 has sharded; every rank enters it."""
    if not hasattr(weight, "ds_id"):
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters([weight])


def trained_shares(network: nn.Module) -> tuple[int, int]:
    """Return the numbers of parameters that are trained, and of all; shared ones count once."""
    trained = whole = 0
    for parameter in network.parameters():
        size = weight_size(parameter)
        whole += size
        trained += size if parameter.requires_grad else 0
    return trained, whole
