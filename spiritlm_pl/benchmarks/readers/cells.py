"""Values of the cells of a benchmark's tables."""

import math

from spiritlm_pl.corpora.manifest import named

_RIGHT = {"1": True, "true": True, "0": False, "false": False}


def is_right(cell: str) -> bool:
    """Read a cell of the column "correct".

    Raises:
        ValueError: if it is neither 1 nor 0.
    """
    value = _RIGHT.get(cell.lower().removesuffix(".0"))
    if value is None:
        raise ValueError(f"correct must be 1 or 0, but is {cell!r} instead")
    return value


def whole_number(cell: str, name: str) -> int | None:
    """Read a cell with a whole number from 0; None for an empty one, or NaN.

    Raises:
        ValueError: if it holds something else.
    """
    if not named(cell):
        return None
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if not (math.isfinite(value) and value >= 0 and value == int(value)):
        raise ValueError(f"{name} must be a whole number or empty, but is {cell!r} instead")
    return int(value)
