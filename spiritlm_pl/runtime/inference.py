"""Changes that make networks faster for inference: nothing computed twice, and a memory layout that suits CPUs.

Shapes: B batch, C channels, T time.
"""

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations


def fold_weight_norm(network: nn.Module) -> None:
    """Compute the weights of normalised layers once instead of at every call.

    The weights have other names after that, so the network can neither be trained nor exported any more. They are
    computed in float64, so that they are the same on any number of threads, and results can be told apart by them; on
    the CPU, as some devices have no float64.
    """
    with torch.inference_mode(False), torch.no_grad():
        for module in network.modules():
            if is_parametrized(module, "weight"):
                device, dtype = (first := next(module.parameters())).device, first.dtype
                module.cpu().double()
                _own_class(module)
                remove_parametrizations(module, "weight")
                module.to(dtype).to(device)
                weight = module.get_buffer("weight")  # as torch computes it without gradients
                del module.weight
                module.register_parameter("weight", nn.Parameter(weight, requires_grad=False))


def _own_class(module: nn.Module) -> None:
    """Give a parametrised module a class of its own: copies share one, from which removing takes the weight of all."""
    shared = type(module)
    content = {name: value for name, value in vars(shared).items() if name not in ("__dict__", "__weakref__")}
    module.__class__ = type(shared.__name__, shared.__bases__, content)


class ChannelsLastConv1d(nn.Conv1d):
    """Convolution over time, (B, C, T), computed on CPUs as one of images with their channels side by side."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C', T')."""
        if (
            input.device.type != "cpu"
            or input.ndim != 3
            or self.padding_mode != "zeros"
            or isinstance(self.padding, str)
        ):
            return super().forward(input)
        (stride,), (padding,), (dilation,) = self.stride, self.padding, self.dilation
        weight, bias = self.weight.unsqueeze(2), self.bias
        return _as_image(
            input, lambda x: functional.conv2d(x, weight, bias, (1, stride), (0, padding), (1, dilation), self.groups)
        )


class ChannelsLastConvTranspose1d(nn.ConvTranspose1d):
    """Transposed convolution over time, (B, C, T), computed as one of images with their channels side by side."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, C, T) to (B, C', T')."""
        if input.ndim != 3 or output_size is not None:
            return super().forward(input, output_size)
        (stride,), (dilation,), (more,), padding = self.stride, self.dilation, self.output_padding, int(self.padding[0])
        weight, bias = self.weight.unsqueeze(2), self.bias
        return _as_image(
            input,
            lambda x: functional.conv_transpose2d(
                x, weight, bias, (1, stride), (0, padding), (0, more), self.groups, (1, dilation)
            ),
        )


CHANNELS_LAST: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: ChannelsLastConv1d,
    nn.ConvTranspose1d: ChannelsLastConvTranspose1d,
}


def use_channels_last(network: nn.Module) -> None:
    """Compute every convolution over time as one over images of a single row, with their channels side by side.

    The weights keep their names. Layers whose weight is normalised stay as they are, unless `fold_weight_norm` came
    first.
    """
    for module in network.modules():
        kind = CHANNELS_LAST.get(type(module))  # normalised layers have another type, or no weight
        if kind is not None and "weight" in dict(module.named_parameters(recurse=False)):
            module.__class__ = kind


_prepared: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()


def prepare(network: nn.Module, device: str | torch.device) -> None:
    """Make a network faster on its device, for inference only: its weights must not change any more."""
    fold_weight_norm(network)
    if torch.device(device).type == "cpu":
        use_channels_last(network)
    _prepared.update(network.modules())


def is_prepared(network: nn.Module) -> bool:
    """Whether `prepare` had this network, so that copies of its weights may be kept."""
    return network in _prepared


def _as_image(input: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
    image = input.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    return compute(image).squeeze(2)
