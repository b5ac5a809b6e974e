"""Limits on numbers with which no computer would ever finish a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

MOST_BUDGET = 1_000_000
MOST_LAYERS = 10_000  # far more than any model has, and still a list that is made in a moment


def check_layers(values: Mapping[str, Any], where: str | Path) -> None:
    """Check that no network of this configuration has more layers than could ever be built.

    Args:
        values: values of the configuration by name; those whose names speak of layers, or of depth, are looked at.
        where: what holds the values, for messages.

    Raises:
        ValueError: if a number of layers is above 10,000.
    """
    for name, value in values.items():
        if ("layer" in name or name == "depth") and isinstance(value, int | float) and value > MOST_LAYERS:
            raise ValueError(f"{name} must be at most {MOST_LAYERS} in {where}, but is {value} instead")


def check_budget(budget: float) -> None:
    """Check the factor that numbers of training steps are multiplied by.

    Raises:
        ValueError: if it is not above 0, or so large that no training would end.
    """
    if not 0 < budget <= MOST_BUDGET:
        raise ValueError(f"budget must be above 0 and at most {MOST_BUDGET:,}, but is {budget:g} instead")
