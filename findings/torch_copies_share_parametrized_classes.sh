#!/bin/sh
# torch 2.14.1: `remove_parametrizations` on a deep copy of a layer breaks the layer that it was copied from.
#
# Expected: a copy and its original are independent of each other, so folding the weight norm of an averaged copy (as of
#   `AveragedModel`) into plain weights, to run or to export it, leaves the network that trains as it is.
# Seen: the original has no attribute `weight` any more (AttributeError at its next forward pass). Removing by
#   `torch.nn.utils.parametrize` from a layer that was loaded from a checkpoint, not copied, does no harm to another.
# Source: torch/nn/utils/parametrize.py: `register_parametrization` gives a layer a class of its own, with a property for
#   the weight; its `__deepcopy__` makes the copy an instance of the same class, and `remove_parametrizations` deletes the
#   property from the class.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import torch
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations
from torch.optim.swa_utils import AveragedModel

print("torch", torch.__version__)
layer = weight_norm(torch.nn.Conv1d(2, 2, 3))
averaged = AveragedModel(layer).module
sound = torch.randn(1, 2, 8)
assert torch.equal(layer(sound), averaged(sound))
remove_parametrizations(averaged, "weight")
print("the copy:", tuple(averaged(sound).shape))
try:
    print("the original:", tuple(layer(sound).shape))
except AttributeError as error:
    print("the original:", error)
else:
    raise SystemExit("it is repaired now")
PY
