"""Tests of arrays in files of safetensors."""

from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

from spiritlm_pl.runtime.array_files import save_arrays


def test_arrays_of_any_layout_keep_their_values(tmp_path: Path) -> None:
    whole = np.arange(12, dtype=np.int64).reshape(3, 4)
    arrays = {
        "whole": whole,
        "turned": whole.T,
        "fortran": np.asfortranarray(whole),
        "strided": whole[:, ::2],
        "reversed": whole[::-1],
        "scalar": np.array(7),
        "empty": whole[:0],
    }
    save_arrays(arrays, tmp_path / "a.safetensors", metadata={"kind": "numbers"})
    loaded = load_file(tmp_path / "a.safetensors")
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array, strict=True)
    with safe_open(tmp_path / "a.safetensors", "np") as file:
        assert file.metadata() == {"kind": "numbers"}
