"""ZeRO-3 as a Lightning strategy that also runs on CPU over gloo, and gathering what it has sharded."""

import torch
from torch import Tensor, nn


def gather_weights(network: nn.Module, keep: bool) -> dict[str, Tensor] | None:
    """The whole state of a network on the CPU, also of one sharded by ZeRO-3; every rank must call.

    Args:
        network: sharded or not.
        keep: whether this rank wants the weights (rank zero); one parameter at a time is gathered.

    Returns:
        Names and CPU tensors where `keep`, else None.
    """
    weights: dict[str, Tensor] = {}
    for name, value in network.state_dict(keep_vars=True).items():
        if hasattr(value, "ds_id"):
            import deepspeed

            with deepspeed.zero.GatheredParameters([value]):
                if keep:
                    weights[name] = value.detach().to("cpu", copy=True)
        elif keep:
            weights[name] = value.detach().to("cpu", copy=value.device == torch.device("cpu"))
    return weights if keep else None
