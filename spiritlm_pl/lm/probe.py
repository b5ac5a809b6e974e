"""Tests of whether a model family computes what is asked of it, on a small copy with random weights, once per process.

Packing of documents, sharing of contexts and padding of prompts depend on the code of a model's family. That code may
ignore what it is told, or carry a state from one document to the next, and give wrong results without an error. So each
such way of running a model is compared with the family's own plain `forward`, on the CPU in float32.
"""

import json
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm.shrink import VOCABULARY, small_network, unsharded

TOLERANCE = 5e-3  # nats; rounding causes 1e-5 (Gemma 3n: 3e-3), a leaking state 0.5 and more
IGNORED = ("_name_or_path", "architectures", "dtype", "transformers_version", "use_cache")  # no influence
ROWS = ((5, 11, 8), (20, 4))  # lengths of documents, longer and shorter than the windows of small copies


@dataclass(frozen=True)
class Outcome:
    """Result of a trial.

    Attributes:
        right: whether both ways agree.
        told: how they differ, in words that continue "its ...".
        tried: whether a small copy could be made at all; if not, `right` is False though nothing is known.
    """

    right: bool
    told: str
    tried: bool = True


_outcomes: dict[tuple[str, str], Outcome] = {}


def outcome(config: PreTrainedConfig, name: str, trial: Callable[[PreTrainedModel], float]) -> Outcome:
    """Find out whether a way of running a model agrees with its plain `forward`.

    Args:
        config: configuration of the model.
        name: name of the way, under which the outcome is kept for later calls.
        trial: function that runs a small copy both ways and returns the largest difference in nats.
    """
    config = config.get_text_config()  # the text part of a model for images or sound
    described = {key: value for key, value in config.to_dict().items() if key not in IGNORED}
    key = name, json.dumps(described, sort_keys=True, default=str)
    if key not in _outcomes:
        _outcomes[key] = _tried(config, trial)
    return _outcomes[key]


def _tried(config: PreTrainedConfig, trial: Callable[[PreTrainedModel], float]) -> Outcome:
    alone = unsharded(), torch.no_grad(), torch.autocast("cpu", enabled=False), torch.device("cpu")
    with ExitStack() as around, warnings.catch_warnings():  # a trainer changes how networks are built and computed
        for each in alone:
            around.enter_context(each)
        warnings.simplefilter("ignore")
        return _tried_unsharded(config, trial)


def _tried_unsharded(config: PreTrainedConfig, trial: Callable[[PreTrainedModel], float]) -> Outcome:
    try:
        network = small_network(config)
    except ValueError as error:
        return Outcome(False, f"code could not be tried on a small copy ({_line(error.__cause__)})", tried=False)
    try:
        found = trial(network)
    except Exception as error:  # the family's code may raise anything
        return Outcome(False, f"code ends in {_line(error)}")
    return Outcome(found <= TOLERANCE, f"losses differ by up to {found:.2g} nats from those of its own forward")


def _line(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:80]}"


def random_rows() -> TokenBatch:
    """Make packed rows of random documents."""
    generator = torch.Generator().manual_seed(0)
    flat = torch.tensor([length for row in ROWS for length in row])
    shape = (len(ROWS), sum(ROWS[0]))
    return TokenBatch(
        tokens=torch.randint(3, VOCABULARY, shape, generator=generator),
        position_ids=torch.cat([torch.arange(length) for length in flat.tolist()]).view(shape),
        segment_ids=torch.cat([torch.full((length,), i) for row in ROWS for i, length in enumerate(row)]).view(shape),
        loss_mask=torch.ones(shape, dtype=torch.bool),
        cu_seqlens=torch.cat([torch.zeros(1), flat.cumsum(0)]).int(),
        step=0,
    )


def random_tokens(lengths: Sequence[int]) -> list[list[int]]:
    """Make sequences of random tokens of these lengths for a small copy."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def plain_logits(network: PreTrainedModel, tokens: Sequence[int] | Tensor) -> Tensor:
    """Compute logits (T, V) of one sequence of tokens (T,) by the plain `forward`."""
    row = torch.as_tensor(tokens)[None]
    logits: Tensor = network(input_ids=row, use_cache=False).logits[0]
    return logits.float()
