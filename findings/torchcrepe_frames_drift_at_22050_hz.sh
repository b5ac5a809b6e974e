#!/bin/sh
# torchcrepe 0.0.24: at sample rates other than 16 kHz, F0 frames stand at other times than `hop_length` says.
#
# Expected: `predict(audio, sample_rate, hop_length)` returns 1 + samples // hop_length frames, as its docstring says, and
#   frame i is at i * hop_length / sample_rate seconds; so F0 can be laid beside features of the same hop.
# Seen: audio of 22,050 Hz with hops of 220 samples (the default, 10 ms): 60 s give 6,038 frames in place of 6,014, and a tone
#   that changes after 50 s is found at 50.22 s. The error grows with time: 0.4 %.
#   44,100 Hz with hops of 441 are right, as these are whole numbers of samples at 16 kHz.
# Source: torchcrepe/core.py, `preprocess`: `hop_length = int(hop_length * SAMPLE_RATE / sample_rate)` after resampling to
#   16 kHz, 159 in place of 159.64.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet torchcrepe==0.0.24 torch==2.14.1 torchaudio==2.11.0 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import math
from importlib.metadata import version

import torch
import torchcrepe

print("torchcrepe", version("torchcrepe"))
torch.set_num_threads(1)
CHANGE = 50.0  # seconds after which the tone is an octave higher


def found(sample_rate, hop):
    """Number of frames, number expected, time of the change as frames tell it."""
    times = torch.arange(60 * sample_rate) / sample_rate
    audio = torch.sin(2 * math.pi * torch.where(times < CHANGE, 200 * times, 400 * times)) * 0.3
    pitch = torchcrepe.predict(
        audio[None], sample_rate, hop, 50, 1000, "tiny", decoder=torchcrepe.decode.weighted_argmax, batch_size=512
    )[0]
    high = int((pitch > 280).nonzero()[0])
    return len(pitch), 1 + len(audio) // hop, high * hop / sample_rate


right = found(44_100, 441)
wrong = found(22_050, 220)
for name, (frames, expected, change) in (("44,100 Hz, hop 441", right), ("22,050 Hz, hop 220", wrong)):
    print(f"{name}: {frames} frames, {expected} expected; the change after {CHANGE} s is found at {change:.2f} s")
assert right[0] == right[1] and abs(right[2] - CHANGE) < 0.05
if wrong[0] == wrong[1] or abs(wrong[2] - CHANGE) < 0.1:
    raise SystemExit("frames are where they are expected now")
PY
