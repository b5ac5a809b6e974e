"""Number of positions of a language model, and the check of rows or prompts against it.

A table of learned positions has no row for a later token. Rotary positions can be computed further, but were not
trained there.
"""

from transformers import PreTrainedConfig

ALIBI = ("bloom", "mpt")  # families that use distances in place of positions, and so take any length


def max_positions(config: PreTrainedConfig) -> int | None:
    """Return the largest number of tokens whose positions a model can tell apart; None where there is no limit.

    Args:
        config: configuration of a causal language model.
    """
    if config.model_type in ALIBI or getattr(config, "alibi", False):
        return None
    return getattr(config, "max_position_embeddings", None)


def has_rotary_positions(config: PreTrainedConfig) -> bool:
    """Whether positions are rotary, computed for any length. Otherwise they may be rows of a learned table.

    Args:
        config: configuration of a causal language model.
    """
    return bool(getattr(config, "rope_parameters", None)) or getattr(config, "rotary_dim", None) is not None


def check_row_length(row_length: int, config: PreTrainedConfig, from_scratch: bool) -> None:
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
