"""Does a family of models compute what is asked of it? Tried on a small copy with random weights, once a process.

How documents are packed, contexts shared and prompts padded leans on the code of a model's family: it may ignore what it is
told, or carry a state from one document to the next, without a word. So each such way is compared with the family's
own plain `forward`, on the CPU in float32.
"""

import json
import math
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from spiritlm_pl.batches import TokenBatch
from spiritlm_pl.lm.shrink import VOCABULARY, small_network

TOLERANCE = 1e-3  # nats; rounding makes 1e-5, a state that leaks 1e-2 and more
ROWS = ((5, 11, 8), (20, 4))  # lengths of documents, longer and shorter than the small copies' windows

Trial = Callable[[PreTrainedModel], float]
_found: dict[tuple[str, ...], tuple[float, str]] = {}


def difference(config: PreTrainedConfig, name: str, trial: Trial, attention: str | None = None) -> tuple[float, str]:
    """How far a way of running a model is from its plain `forward`: the difference, and in words.

    Args:
        config: of the model.
        name: of the way, under which the outcome is kept.
        trial: runs a small copy both ways and gives the largest difference in nats.
        attention: implementation of attention of the copy; None for the family's default.

    Returns:
        The largest difference (infinite where the family's code fails; 0 where no copy can be made, with a warning).
    """
    ignored = ("_name_or_path", "transformers_version", "dtype", "architectures")
    described = {key: value for key, value in config.to_dict().items() if key not in ignored}
    key = (name, attention or "", json.dumps(described, sort_keys=True, default=str))
    if key not in _found:
        _found[key] = _tried(config, trial, attention)
    return _found[key]


def _tried(config: PreTrainedConfig, trial: Trial, attention: str | None) -> tuple[float, str]:
    try:
        network = small_network(config, attention)
    except ValueError as error:
        if attention is not None and _can_be_made(config):
            return math.inf, f"its code fails with {_line(error.__cause__ or error)}"
        warnings.warn(f"whether {config.model_type} computes what it should could not be tried: {error}", stacklevel=4)
        return 0.0, "not tried"
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = trial(network)
    except Exception as error:  # whatever the family's code runs into
        return math.inf, f"its code fails with {_line(error)}"
    return found if math.isfinite(found) else math.inf, f"losses differ by up to {found:.2g} nats"


def _can_be_made(config: PreTrainedConfig) -> bool:
    try:
        small_network(config)
    except ValueError:
        return False
    return True


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:100]}"


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
