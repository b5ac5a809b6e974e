#!/bin/sh
# lightning 2.6.6: an L40S counts as an L4, so that the utilisation of `ThroughputMonitor` is three times too high.
#
# Expected: the peak of the device (dense bf16, NVIDIA's data sheets): L40S 362e12, L40 181e12, H100 NVL 835e12 operations
#   a second, or None for one that is not known, as for "NVIDIA H200".
# Seen: 121e12 for L40S and L40; 1979e12 for H100 NVL (with sparsity, of two cards; changed after 2.6); a MIG slice counts
#   as the whole device.
# Source: lightning/fabric/utilities/throughput.py, `get_available_flops`: `"l4" in chip` holds for "l40s", and the branch
#   then asks for "tesla", which the names of these devices do not have.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet lightning==2.6.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import torch
from lightning.fabric.utilities.throughput import get_available_flops

found = {}
for name in ("NVIDIA L40S", "NVIDIA L40", "NVIDIA L4", "NVIDIA H100 NVL", "NVIDIA A100-SXM4-40GB MIG 1g.5gb"):
    torch.cuda.get_device_name = lambda device, name=name: name
    found[name] = get_available_flops(torch.device("cuda", 0), torch.bfloat16) / 1e12
    print(f"{name}: {found[name]} trillion operations a second")
assert found["NVIDIA L40S"] == found["NVIDIA L40"] == found["NVIDIA L4"] == 121, "they are told apart now"
PY
