"""Parts of a waveform, for less than the whole costs: after each layer, what later layers do not read is left out.

Shapes: T steps of a sequence along any axis.
"""

from torch import Tensor

Part = tuple[int, int]  # first wanted step, and the step behind the last one


def with_reach(x: Tensor, part: Part, reach: int, dim: int) -> tuple[Tensor, Part]:
    """Return the part of a sequence with what is read around it, and the place of the part in that.

    Args:
        x: tensor with T steps along an axis.
        part: wanted steps.
        reach: number of steps on either side that are read for a wanted one; there are fewer at the ends.
        dim: axis of the steps.
    """
    first, end = max(0, part[0] - reach), min(x.shape[dim], part[1] + reach)
    return x.narrow(dim, first, end - first), (part[0] - first, part[1] - first)


def upsampled(part: Part, factor: int) -> Part:
    """Return where a part is once every step has become several."""
    return part[0] * factor, part[1] * factor
