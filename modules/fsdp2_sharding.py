"""Division of a language model by torch's FSDP2, layer by layer, with the weights of rank zero."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, OffloadPolicy, fully_shard
from transformers import PreTrainedModel

from spiritlm_pl.lm.logits import decoder


def shard(
    network: PreTrainedModel,
    mesh: DeviceMesh,
    device: torch.device,
    precision: MixedPrecisionPolicy,
    offload: OffloadPolicy,
    gather_again: bool,
) -> None:
    """Send a network's weights from rank zero to all ranks, of which each keeps its shares; all ranks call.

    No more than a layer is whole on a device at one time; embedding and output layer count as one layer.

    Args:
        network: the network; on ranks other than zero it may be on the meta device.
        mesh: the ranks, in one dimension.
        device: device of this rank.
        precision: types in which weights are gathered and gradients are summed.
        offload: where the shares lie.
        gather_again: whether a layer's whole weights are freed after its forward, and gathered again for its backward.
    """
    owners = _owners(network)
    for layer in [*_layers(network, owners), network]:
        _fill(layer, owners, device)
        again = None if layer is network else gather_again  # the network itself: as FSDP2 does by default
        fully_shard(layer, mesh=mesh, mp_policy=precision, offload_policy=offload, reshard_after_forward=again)


Owners = dict[int, list[tuple[nn.Module, str]]]  # id of a parameter or buffer -> modules that have it, and its names


def _owners(network: nn.Module) -> Owners:
    owners: Owners = {}
    for module in network.modules():
        for name, value in (*module._parameters.items(), *module._buffers.items()):
            if value is not None:
                owners.setdefault(id(value), []).append((module, name))
    return owners


def _layers(network: PreTrainedModel, owners: Owners) -> Iterator[nn.Module]:
    """Yield the layers of the longest list of modules, except those that share weights with something else."""
    lists = [found for found in decoder(network).modules() if isinstance(found, nn.ModuleList)]
    sizes = [sum(parameter.numel() for parameter in found.parameters()) for found in lists]
    for layer in lists[sizes.index(max(sizes))] if lists else ():
        within = set(layer.modules())
        if all(owner in within for value in layer.parameters() for owner, _ in owners[id(value)]):
            yield layer


def _fill(layer: nn.Module, owners: Owners, device: torch.device) -> None:
    """Put what FSDP2 has not yet divided of a layer on the device, with the content of rank zero."""
    for module in layer.modules():
        for value in [*module._parameters.values(), *module._buffers.values()]:
            if value is not None and id(value) in owners:
                whole = _from_rank_zero(value, device)
                for owner, name in owners.pop(id(value)):
                    values: dict[str, Any] = owner._parameters if name in owner._parameters else owner._buffers
                    values[name] = whole


def _from_rank_zero(value: Tensor, device: torch.device) -> Tensor:
    whole = torch.empty_like(value, device=device) if value.is_meta else value.detach().to(device)
    torch.distributed.broadcast(whole, 0)
    return nn.Parameter(whole, value.requires_grad) if isinstance(value, nn.Parameter) else whole
