"""Does a family of models compute what is asked of it? Tried on a small copy with random weights, once a process.

How documents are packed, contexts shared and prompts padded leans on the code of a model's family: it may ignore what
it is told, or carry a state from one document to the next, without a word. So each such way is compared with the
family's own plain `forward`, on the CPU in float32.
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

TOLERANCE = 5e-3  # nats; rounding makes 1e-5 (Gemma 3n: 3e-3), a state that leaks 0.5 and more
IGNORED = ("_name_or_path", "architectures", "dtype", "transformers_version", "use_cache")  # which change nothing
ROWS = ((5, 11, 8), (20, 4))  # lengths of documents, longer and shorter than the small copies' windows


@dataclass(frozen=True)
class Outcome:
    """What a trial has found.

    Attributes:
        right: whether both ways agree.
        told: how they differ, in words that follow "its ...".
        tried: whether a small copy could be made at all; nothing is known where not, and `right` is False.
    """

    right: bool
    told: str
    tried: bool = True


_outcomes: dict[tuple[str, str], Outcome] = {}


def outcome(config: PreTrainedConfig, name: str, trial: Callable[[PreTrainedModel], float]) -> Outcome:
    """Whether a way of running a model agrees with its plain `forward`.

    Args:
        config: of the model.
        name: of the way, under which the outcome is kept.
        trial: runs a small copy both ways and gives the largest difference in nats.
    """
    config = config.get_text_config()  # of a model that also sees or hears
    described = {key: value for key, value in config.to_dict().items() if key not in IGNORED}
    key = name, json.dumps(described, sort_keys=True, default=str)
    if key not in _outcomes:
        _outcomes[key] = _tried(config, trial)
    return _outcomes[key]


def _tried(config: PreTrainedConfig, trial: Callable[[PreTrainedModel], float]) -> Outcome:
    alone = unsharded(), torch.no_grad(), torch.autocast("cpu", enabled=False), torch.device("cpu")
    with ExitStack() as around, warnings.catch_warnings():  # whatever a trainer does to what is built and computed
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
    except Exception as error:  # whatever the family's code runs into
        return Outcome(False, f"code ends in {_line(error)}")
    return Outcome(found <= TOLERANCE, f"losses differ by up to {found:.2g} nats from those of its own forward")


def _line(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:80]}"


def random_rows() -> TokenBatch:
    """Packed rows of random documents."""
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
    """Sequences of random tokens of a small copy."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def plain_logits(network: PreTrainedModel, tokens: Sequence[int] | Tensor) -> Tensor:
    """Logits (T, V) of one sequence of tokens (T,) by the plain `forward`."""
    row = torch.as_tensor(tokens)[None]
    logits: Tensor = network(input_ids=row, use_cache=False).logits[0]
    return logits.float()
