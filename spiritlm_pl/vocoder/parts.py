"""Parts of a waveform, for less than the whole costs: after each layer, what later layers do not read is left out.

Shapes: T steps of a sequence along any axis.
"""

from torch import Tensor

Part = tuple[int, int]  # first wanted step, and the step behind the last one


def around(part: Part, reach: int, length: int) -> Part:
    """Return a part with the steps that are read around it, of which there are fewer at the ends of the sequence."""
    return max(0, part[0] - reach), min(length, part[1] + reach)


def with_reach(x: Tensor, part: Part, reach: int, dim: int) -> tuple[Tensor, Part]:
    """Return the part of a sequence with what is read around it, and the place of the part in that.

    Args:
        x: tensor with T steps along an axis.
        part: wanted steps.
        reach: number of steps on either side that are read for a wanted one.
        dim: axis of the steps.
    """
    first, end = around(part, reach, x.shape[dim])
    return x.narrow(dim, first, end - first), (part[0] - first, part[1] - first)


def upsampled(part: Part, factor: int) -> Part:
    """Return where a part is once every step has become several."""
    return part[0] * factor, part[1] * factor
