"""Arrays in files of safetensors, with their values in the order of their shape."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file


def save_arrays(
    arrays: Mapping[str, npt.NDArray[Any]], path: str | Path, metadata: dict[str, str] | None = None
) -> None:
    """Save arrays of any layout in memory.

    Args:
        arrays: arrays by their names.
        path: file, which is replaced.
        metadata: texts by their names, which the file holds as well.
    """
    # safetensors 0.8 writes memory as it lies: values of a transposed or cut array would stand in other places
    save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, path, metadata=metadata)
