#!/bin/sh
# safetensors 0.8.0: NumPy arrays that are transposed, cut out or in Fortran order are saved with their values in other
#   places.
#
# Expected: `load_file` gives what `save_file` got, as up to 0.7.0; or an error, as from `safetensors.torch` ("You are
#   trying to save a non contiguous tensor"). The docstring asks for "contiguous and dense" tensors; NumPy's own
#   functions return others all the time, and `save` and `savez` take them.
# Seen: the shape is right, the values are those that lie in memory in this order. A spectrogram that is saved as
#   (frames, bands) by `.T`, channels of `soundfile.read(...).T`, every second frame, the frames up to some time,
#   principal components of scikit-learn: all are mixed up, and nothing tells when they are saved or loaded. Of features
#   that are cut out, others take the place of what was asked for.
# Why: since 0.8.0 the pointer and the number of bytes are handed on; strides are not looked at.
# Source: safetensors/numpy.py, `_flatten`: `data_ptr=tensor.ctypes.data, data_len=tensor.nbytes`;
#   https://github.com/safetensors/safetensors/issues/825
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has both
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

print("safetensors", safetensors.__version__, "numpy", np.__version__)
BANDS, FRAMES = 80, 300
spectrogram = np.random.default_rng(0).standard_normal((BANDS, FRAMES)).astype(np.float32)
arrays = {
    "as it is": spectrogram,
    "transposed": spectrogram.T,
    "in Fortran order": np.asfortranarray(spectrogram),
    "every second frame": spectrogram[:, ::2],
    "the first 100 frames": spectrogram[:, :100],
}
save_file(arrays, "features.safetensors")
np.savez("features.npz", **arrays)
loaded, npz = load_file("features.safetensors"), np.load("features.npz")
wrong = {}
for name, array in arrays.items():
    assert loaded[name].shape == array.shape and np.array_equal(npz[name], array)
    wrong[name] = float((loaded[name] != array).mean())
    print(f"{name}, {array.shape}: {wrong[name]:.1%} of the values are others than those saved")
assert wrong.pop("as it is") == 0
if min(wrong.values()) < 0.5:
    raise SystemExit("arrays are saved as they are now")
PY
