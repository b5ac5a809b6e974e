"""Names that older versions and other tools use for rotary positions in a configuration of `transformers` 5.

`transformers` 5 keeps base, part and scaling in `rope_parameters` alone. Version 4, mlx-lm and others read the earlier
names, and where these are missing assume a base of 10,000, which gives other answers without an error. Version 5 still
reads both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

NAMES = {"rope_theta": "rope_theta", "partial_rotary_factor": "partial_rotary_factor"}
NEOX_NAMES = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
TWO_BASES = ("gemma3_text", "gemma3n_text")  # one base for the layers that see all, another for those that see a window
ONE_SCALED = ("olmo3",)  # one base, where only the layers that see all are scaled


def check_rotary_base(values: Mapping[str, Any], where: str | Path) -> None:
    """Refuse a configuration that gives two bases of rotary positions: which one counts depends on who reads it.

    Args:
        values: values of a `config.json`.
        where: what holds them, for the message.

    Raises:
        ValueError: if the earlier name has another value than `rope_parameters`.
    """
    parameters, older = values.get("rope_parameters"), values.get("rope_theta")
    base = parameters.get("rope_theta") if isinstance(parameters, dict) else None
    if base is not None and older is not None and base != older:
        raise ValueError(
            f"config.json of {where} must give one base of rotary positions, but has {older} as rope_theta and {base} "
            "in rope_parameters: make them equal"
        )


def older_rotary_names(config: PreTrainedConfig) -> dict[str, Any]:
    """Return the values of `rope_parameters` under the names of before version 5.

    Args:
        config: configuration of a model.

    Returns:
        Names and values; empty for a model without rotary positions, and for families that appeared with version 5
        and have another base for each kind of layer.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    names, others = NAMES, {}
    if config.model_type.startswith("gpt_neox"):
        names = NEOX_NAMES
    elif config.model_type in (*TWO_BASES, *ONE_SCALED):
        if config.model_type in TWO_BASES:
            others["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
        parameters = parameters["full_attention"]
    if any(isinstance(value, dict) for value in parameters.values()):
        return {}
    values = {older: parameters[name] for name, older in names.items() if name in parameters}
    if parameters.get("rope_type", "default") != "default":
        values["rope_scaling"] = {name: value for name, value in parameters.items() if name not in names}
    return {**values, **others}
