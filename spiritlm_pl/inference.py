"""Networks as inference wants them: nothing computed twice, convolutions in the memory layout that CPUs are fast in.

Shapes: B batch, C channels, T time.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations


def fold_weight_norm(network: nn.Module) -> None:
    """Compute the weights of normalised layers once instead of at every call.

    They have other names afterwards, so that the network can neither be trained on nor exported.
    """
    for module in network.modules():
        if is_parametrized(module, "weight"):
            remove_parametrizations(module, "weight")
            if "weight" in dict(module.named_buffers(recurse=False)):  # what torch makes of it without gradients
                weight = module.get_buffer("weight")
                del module.weight
                module.register_parameter("weight", nn.Parameter(weight, requires_grad=False))


class ChannelsLastConv1d(nn.Conv1d):
    """A convolution of (B, C, T)."""

    def __init__(self, conv: nn.Conv1d) -> None:
        """Take over the weights of a convolution, not a copy of them."""
        (kernel,), (stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
        padding = conv.padding if isinstance(conv.padding, str) else conv.padding[0]
        super().__init__(
            conv.in_channels, conv.out_channels, kernel, stride, padding, dilation, conv.groups, device="meta"
        )
        self.padding_mode = conv.padding_mode
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T')."""
        if self.padding_mode != "zeros" or isinstance(self.padding, str):
            return super().forward(input)
        (stride,), (padding,), (dilation,) = self.stride, self.padding, self.dilation
        weight, bias = self.weight.unsqueeze(2), self.bias
        return _as_image(
            input, lambda x: functional.conv2d(x, weight, bias, (1, stride), (0, padding), (1, dilation), self.groups)
        )


class ChannelsLastConvTranspose1d(nn.ConvTranspose1d):
    """A transposed convolution of (B, C, T)."""

    def __init__(self, conv: nn.ConvTranspose1d) -> None:
        """Take over the weights of a convolution, not a copy of them."""
        (kernel,), (stride,), padding = conv.kernel_size, conv.stride, int(conv.padding[0])
        (more,), (dilation,) = conv.output_padding, conv.dilation
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            kernel,
            stride,
            padding,
            more,
            conv.groups,
            dilation=dilation,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C, T) to (B, C', T')."""
        if output_size is not None:
            return super().forward(input, output_size)
        (stride,), (dilation,), (more,), padding = self.stride, self.dilation, self.output_padding, int(self.padding[0])
        weight, bias = self.weight.unsqueeze(2), self.bias
        return _as_image(
            input,
            lambda x: functional.conv_transpose2d(
                x, weight, bias, (1, stride), (0, padding), (0, more), self.groups, (1, dilation)
            ),
        )


KINDS: dict[type[nn.Module], Callable[..., nn.Module]] = {
    nn.Conv1d: ChannelsLastConv1d,
    nn.ConvTranspose1d: ChannelsLastConvTranspose1d,
}


def use_channels_last(network: nn.Module) -> None:
    """Replace every convolution over time, unless its weight is normalised: fold that before.

    The weights keep their names. A convolution becomes one of images of one row, their channels side by side.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            kind = KINDS.get(type(child))  # a normalised one is of another type
            if kind is not None and "weight" in dict(child.named_parameters(recurse=False)):
                setattr(module, name, kind(child))


def _as_image(input: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
    image = input.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    return compute(image).squeeze(2)
