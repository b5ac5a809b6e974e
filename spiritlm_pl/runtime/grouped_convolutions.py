"""Convolutions in groups that a processor computes wrongly in bfloat16 are computed in float32.

oneDNN 3.12, in torch 2.14, gives wrong numbers without a word on processors with AMX (Intel's since Sapphire Rapids):
in bfloat16, forwards, where a group has an even number of channels below 16 and a kernel of a multiple of 16 taps, and
for some kernels of 8 (`findings/torch_convolves_few_channels_wrongly_on_amx.sh`). The positions of a small wav2vec 2.0
are such a convolution; those of the published sizes, with 48 or 64 channels a group, are right. What is right on this
processor is tried, and not looked up, so that other faults are met as well.

Shapes: B batch, C channels, T time.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST_ERROR = 0.05  # relative to the float32 result; that of a right one is 0.002


class InFloat32(nn.Module):
    """Class before that of a module, which is then computed in float32 where bfloat16 is asked for on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Map what the module maps, and return the type that was given."""
        module: Any = super()
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            found: Tensor = module.forward(input)
            return found
        with torch.autocast("cpu", enabled=False):
            found = module.forward(input.float())
        return found.to(input.dtype)


def avoid_wrong_convolutions(network: nn.Module) -> None:
    """Let modules compute in float32 that hold a convolution which this processor gets wrong in bfloat16.

    Names and weights stay as they are.

    Args:
        network: network in which modules with a convolution in groups over time take (B, C, T) or (B, T, C), and
            nothing else, as the positions of wav2vec 2.0 and HuBERT do.
    """
    for module in list(network.modules()):
        if not isinstance(module, InFloat32) and any(_is_wrong(child) for child in module.children()):
            module.__class__ = type(f"Float32{type(module).__name__}", (InFloat32, type(module)), {})


def _is_wrong(module: nn.Module) -> bool:
    if not isinstance(module, nn.Conv1d) or module.groups == 1:
        return False
    sizes = module.in_channels // module.groups, module.out_channels // module.groups
    return not right_in_bfloat16(*sizes, module.kernel_size[0], module.stride[0], module.dilation[0])


@cache
def right_in_bfloat16(channels: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> bool:
    """Try whether a convolution in groups gives in bfloat16 what it gives in float32, on this processor.

    Args:
        channels: channels of a group.
        outputs: channels that a group gives.
        kernel: taps.
        stride: steps between outputs.
        dilation: steps between taps.
    """
    with torch.autocast("cpu", enabled=False), torch.no_grad():
        random = torch.Generator().manual_seed(0)
        length = (kernel - 1) * dilation + 1 + 16 * stride
        rows = torch.randn(1, 2 * channels, length, generator=random).bfloat16()
        weight = torch.randn(2 * outputs, channels, kernel, generator=random).bfloat16()
        wanted, found = (
            functional.conv1d(rows.to(dtype), weight.to(dtype), stride=stride, dilation=dilation, groups=2).float()
            for dtype in (torch.float32, torch.bfloat16)
        )
        return bool((found - wanted).norm() <= LARGEST_ERROR * wanted.norm())
