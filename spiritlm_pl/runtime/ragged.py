"""Arrays that are made of parts of different lengths, one after the other."""

from typing import Any

import numpy as np
import numpy.typing as npt


def ragged_take(
    values: npt.NDArray[Any], spans: npt.NDArray[np.int64], places: npt.NDArray[np.int64]
) -> npt.NDArray[Any]:
    """Return parts of an array, one after the other.

    Args:
        values: array (N,) that is made of parts.
        spans: start of each part, and the end (P + 1,).
        places: numbers of the parts to return, in this order (n,).

    Returns:
        The values, which cannot be written to.
    """
    from pyarrow import Array, array, large_binary, py_buffer  # imported late, as training does not need it

    # A part is a string of bytes for Arrow, which copies it as a whole.
    buffers = [None, py_buffer(spans * values.itemsize), py_buffer(np.ascontiguousarray(values))]
    taken = Array.from_buffers(large_binary(), len(spans) - 1, buffers).take(array(places)).buffers()[2]
    return np.frombuffer(b"" if taken is None else taken, values.dtype)
