"""What a trainer's strategy needs from the making and the calls of a network, without knowing its parts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from torch import nn

Result = TypeVar("Result")
_LEFT_OUT: ContextVar[bool] = ContextVar("weights_left_out", default=False)


@contextmanager
def weights_left_out() -> Iterator[None]:
    """Let `build_network` build networks on torch's meta device within the context, to be filled afterwards."""
    before = _LEFT_OUT.set(True)
    try:
        yield
    finally:
        _LEFT_OUT.reset(before)


def weights_are_left_out() -> bool:
    """Whether networks are built without weights at this place."""
    return _LEFT_OUT.get()


def as_forward(network: nn.Module, compute: Callable[[], Result]) -> Result:
    """Compute something with the parts of a network as one forward of the network, so that its hooks run.

    FSDP2 gathers those weights in a hook that belong to no layer, such as the embedding.

    Args:
        network: network whose hooks run before and after.
        compute: the computation, within which `network` has its own forward.
    """

    own = vars(network).get("forward")  # which other libraries may have put in place of the class's

    def restore() -> None:
        vars(network).pop("forward", None)
        if own is not None:
            network.forward = own

    def once() -> Result:
        restore()
        return compute()

    network.forward = once
    try:
        result: Result = network()
    finally:
        restore()  # if a hook fails
    return result
