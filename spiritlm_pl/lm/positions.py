"""Number of positions of a language model, the check of rows or prompts against it, and what rotates positions.

A table of learned positions has no row for a later token. Rotary positions can be computed further, but were not
trained there. With some types of them, all positions of a sequence are rotated otherwise once it is long.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ALIBI = ("bloom", "mpt")  # families that use distances in place of positions, and so take any length
LONG_OR_SHORT = ("longrope", "su")  # types of rotary positions with one set of factors for short and one for long


def max_positions(config: "PreTrainedConfig") -> int | None:
    """Return the largest number of tokens whose positions a model can tell apart; None where there is no limit.

    Args:
        config: configuration of a causal language model.
    """
    if config.model_type in ALIBI or getattr(config, "alibi", False):
        return None
    return getattr(config, "max_position_embeddings", None)


def has_rotary_positions(config: "PreTrainedConfig") -> bool:
    """Whether positions are rotary, computed for any length. Otherwise they may be rows of a learned table.

    Args:
        config: configuration of a causal language model.
    """
    return bool(getattr(config, "rope_parameters", None)) or getattr(config, "rotary_dim", None) is not None


def same_rotary_factors(config: "PreTrainedConfig", shortest: int, longest: int) -> bool:
    """Whether sequences of any length from the shortest to the longest have their positions rotated in the same way.

    Where not, keys that were computed in a sequence of one length are wrong in one of another length. The longest
    sequence of a batch decides for all of it, so that a shorter one gets other results beside it than alone.

    Args:
        config: configuration of a causal language model.
        shortest: number of tokens that the model reads, at least 1.
        longest: number of tokens that the model reads, at least as many; padding at the end of a sequence counts.
    """
    text = config.get_text_config()  # the text part of a model for images or sound
    for parameters in _rotary_parameters(text):
        kind = parameters.get("rope_type") or parameters.get("type") or ""
        if kind in LONG_OR_SHORT:
            named = "original_max_position_embeddings"
            most = parameters.get(named) or getattr(text, named, None) or text.max_position_embeddings
            if shortest <= most < longest:
                return False
        elif "dynamic" in kind and shortest < longest and longest > text.max_position_embeddings:
            return False  # beyond that number, each length has factors of its own
    return True


def _rotary_parameters(config: "PreTrainedConfig") -> Iterator[dict[str, Any]]:
    """Yield the parameters of rotary positions, those of each type of layer where the types differ."""
    for name in ("rope_parameters", "rope_scaling"):
        found = getattr(config, name, None)
        if isinstance(found, dict):
            yield from (each for each in (found, *found.values()) if isinstance(each, dict))


def check_row_length(row_length: int, config: "PreTrainedConfig", from_scratch: bool) -> None:
    """Refuse rows with more tokens than the model has positions.

    Args:
        row_length: number of tokens in a row.
        config: configuration of the model that is trained.
        from_scratch: whether the model is built anew, so that a learned table can have any size.

    Raises:
        ValueError: if the rows are too long; the message says which settings help.
    """
    most = max_positions(config)
    if most is None or row_length <= most:
        return
    ways = f"--data.init_args.row_length {most} shortens rows"
    if from_scratch or has_rotary_positions(config):
        ways += f", --model.init_args.network.config.max_position_embeddings {row_length} makes a model for longer ones"
    raise ValueError(
        f"row_length must be at most the {most} positions of the model ({config.model_type}), but is {row_length} "
        f"instead; {ways}"
    )
