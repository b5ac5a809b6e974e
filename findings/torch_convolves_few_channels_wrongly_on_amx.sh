#!/bin/sh
# torch 2.14.1 (oneDNN 3.12.0) on a processor with AMX: convolutions of few channels and long kernels in bfloat16 give
# numbers that have nothing to do with the result.
#
# Expected: bfloat16 gives what float32 gives, to three digits (a relative error of 0.002), on every processor.
# Seen: a relative error of 1.0 to 1.2, without a warning, for 4, 6, 8 or 12 input channels a group and kernels of 16, 32,
#   48, 64, 128 taps, and for 2 channels and 32 or more (one group or many, any stride, dilation 1). That is the convolution
#   of positions of a small wav2vec 2.0 or HuBERT (32 wide, 16 groups, 128 taps); those of the published sizes have 48 and
#   64 channels a group, and are right. With ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 the same processor is right. So are
#   gradients of such a convolution, but gradients of transposed convolutions to so few channels are computed by it.
# Source: found by tests that ran on an Intel Xeon (Emerald Rapids) for the first time; no report of it was found.
# Needs a processor with AMX (`grep amx_bf16 /proc/cpuinfo`); ends with 2 elsewhere.
set -e
grep -q amx_bf16 /proc/cpuinfo || { echo "this processor has no AMX, without which nothing is wrong"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
cat > convolve.py <<'PY'
import torch
from torch.nn.functional import conv1d

torch.manual_seed(0)


def error(channels, taps, groups=1):
    """Relative error of bfloat16, beside float64 of the same numbers."""
    rows = torch.randn(1, channels * groups, 300).bfloat16()
    weight = (torch.randn(8 * groups, channels, taps) / (channels * taps) ** 0.5).bfloat16()
    wanted = conv1d(rows.double(), weight.double(), groups=groups)
    return float((conv1d(rows, weight, groups=groups).double() - wanted).norm() / wanted.norm())


print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
for channels, taps, groups in ((4, 16, 1), (8, 64, 1), (2, 128, 16), (12, 128, 4), (8, 63, 1), (3, 64, 1), (48, 128, 16)):
    print(f"{channels} channels, {taps} taps, {groups} groups: {error(channels, taps, groups):.3f}")
PY
"$python" convolve.py | tee with.txt
echo "without AMX:"
ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 "$python" convolve.py | tee without.txt
"$python" - <<'PY'
def errors(name):
    return [float(line.rsplit(" ", 1)[1]) for line in open(name) if "taps" in line]


found, without = errors("with.txt"), errors("without.txt")
if not (min(found[:4]) > 0.9 and max(found[4:] + without) < 0.01):
    raise SystemExit("it is otherwise now")
PY
