"""The step from a model's output layer to its logits: a factor, a cap, or neither.

Granite, Cohere and Falcon-H1 have a factor, Gemma 2 and NanoChat a cap, and their configurations name them differently.
So the model's own `forward` is measured: the output layer is replaced by one that returns known values, and the logits
that the `forward` makes of them tell factor and cap. No layer is computed, and no parameter is changed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

RULER = (-1e6, -100.0, -10.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 10.0, 100.0, 1e6)


@dataclass(frozen=True)
class Logits:
    """Function from the output x of the last layer to logits.

    Without a softcap they are scale * x, with a softcap c they are c * tanh(scale * x / c).


    Attributes:
        scale: factor of the output.
        softcap: bound of the absolute value of the logits; None leaves them unbounded.
    """

    scale: float = 1.0
    softcap: float | None = None

    def __call__(self, output: Tensor) -> Tensor:
        """Compute the logits of the layer's output, of the same shape."""
        if self.scale != 1:
            output = output * self.scale
        return output if self.softcap is None else (output / self.softcap).tanh() * self.softcap

    def slope(self, logits: Tensor) -> Tensor | float | None:
        """Return the derivative of the logits by the layer's output, from the logits; None where it is 1 everywhere."""
        if self.softcap is not None:
            return self.scale * (1 - (logits / self.softcap).square())
        return None if self.scale == 1 else self.scale


class _Hidden:
    """Stand-in for the output of a decoder: it has the last hidden states, and None for everything else."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getattr__(self, name: str) -> None:
        return None

    def __getitem__(self, place: int | slice) -> Tensor | tuple[()]:
        return self.last_hidden_state if place == 0 else ()


def decoder(network: PreTrainedModel) -> PreTrainedModel:
    """Return the part of a causal language model that computes the hidden states."""
    base = cast(PreTrainedModel, network.base_model)
    if base is not network:
        return base
    return next(child for child in network.children() if isinstance(child, PreTrainedModel))


@torch.no_grad()
def own_logits(network: PreTrainedModel) -> Logits:
    """Measure what the `forward` of a causal language model does to the output of its last layer.

    Raises:
        ValueError: if that is more than a factor and a cap, or if the layer is not given the decoder's output
            unchanged.
    """
    # By way of numpy: within ZeRO-3's sharding context, torch.tensor and torch.arange give the weights' dtype.
    ruler = torch.from_numpy(np.array(RULER, dtype=np.float32)).view(1, 1, -1)
    size = network.get_output_embeddings().in_features
    hidden = torch.from_numpy(np.arange(size, dtype=np.float32) % 7 - 3).view(1, 1, -1)  # exact in half precision too
    told: list[Tensor] = []  # by the decoder's stand-in; empty where a forward calls a part of it (OPT)
    given: list[Tensor] = []

    def told_of(*_: Any, **__: Any) -> _Hidden:
        told.append(hidden)
        return _Hidden(hidden)

    def measured(output: Tensor) -> Tensor:
        given.append(output.float())
        return ruler.clone()

    with _instead(decoder(network), told_of), _instead(network.get_output_embeddings(), measured):
        found = network(input_ids=torch.zeros(1, 1, dtype=torch.long), use_cache=False).logits.float()
    if told and not (len(given) == 1 and torch.equal(given[0], hidden)):
        raise ValueError(
            "output layer must be given the hidden states of the decoder as they are, "
            f"but the forward of {network.config.model_type} does something else with them"
        )
    values = found.flatten()
    scale, most = float(values[6] / RULER[6]), float(values[-1])
    own = Logits(scale, None if abs(most - scale * RULER[-1]) <= 1e-3 * abs(most) else most)
    if found.shape != ruler.shape or not torch.allclose(own(ruler), found, rtol=1e-4, atol=1e-6):
        raise ValueError(
            "model must scale or cap its logits at most, "
            f"but the forward of {network.config.model_type} does something else with them"
        )
    return own


@contextmanager
def _instead(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Replace the `forward` of a module within a context."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
