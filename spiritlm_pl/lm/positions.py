"""How many tokens a language model was made for, and rows or prompts that are longer.

A table of learned positions has no row for a later token; rotary positions go on, but were never trained there.
"""

from transformers import PreTrainedConfig

ALIBI = ("bloom", "mpt")  # distances instead of positions: any length


def max_positions(config: PreTrainedConfig) -> int | None:
    """Tokens from the first to the last that a model can tell the place of; None for any number.

    Args:
        config: of a causal language model.
    """
    if config.model_type in ALIBI or getattr(config, "alibi", False):
        return None
    return getattr(config, "max_position_embeddings", None)


def has_rotary_positions(config: PreTrainedConfig) -> bool:
    """Whether positions are rotary, computed for any length; where not, they may be rows of a learned table.

    Args:
        config: of a causal language model.
    """
    return bool(getattr(config, "rope_parameters", None)) or getattr(config, "rotary_dim", None) is not None


def check_row_length(row_length: int, config: PreTrainedConfig, from_scratch: bool) -> None:
    """Refuse rows with more tokens than the model has positions.

    Args:
        row_length: tokens of a row.
        config: of the model that is trained.
        from_scratch: whether the model is made anew, so that a learned table may have any size.

    Raises:
        ValueError: with the way out.
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
