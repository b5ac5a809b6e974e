#!/bin/sh
# pesto-pitch 2.0.1: with `num_chunks`, which is to save memory, F0 of a recording is late, by up to a frame for each
#   chunk.
#
# Expected: `num_chunks` splits "the batch of CQT frames into multiple chunks" to save memory, and "a 48kHz audio file
#   of 1 hour" is the example for 10 chunks; so a recording has the same F0 at the same times with it. `predict` takes
#   one recording, of shape (samples,), or a batch.
# Seen: a tone of 60 s becomes an octave higher at 50 s. It is found at 50.03 s in one chunk, at 50.11 s in 10 and at
#   50.86 s in 100 chunks, with 99 frames too many, and nothing tells. Beside features, units or words F0 is ever later.
#   A batch of the same recording is right, as it is not split at all. The command passes each file without a batch.
# Why: the tensor is cut along its first axis, which is time if there is no batch. Each piece has a first and a last
#   frame half of which is padding, so one more than its share, and the frames are numbered through.
# Source: pesto/core.py, `_predict`: `x.chunk(chunks=num_chunks)`, `torch.arange(preds.size(-1)) * model.hop_size`
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has all three
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet pesto-pitch==2.0.1 torch==2.14.1 torchaudio==2.11.0
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import math
from importlib.metadata import version

import pesto
import torch

print("pesto-pitch", version("pesto-pitch"))
torch.set_num_threads(1)
RATE, CHANGE = 16_000, 50.0
time = torch.arange(60 * RATE) / RATE
sound = 0.3 * torch.sin(2 * math.pi * torch.where(time < CHANGE, 200 * time, 400 * time))


def found(sound, chunks):
    """Number of frames, and time in seconds at which the tone becomes higher."""
    times, pitch, _, _ = pesto.predict(sound, RATE, step_size=10.0, num_chunks=chunks)
    pitch = pitch.flatten()
    return len(pitch), times[int((pitch < 280).nonzero()[-1]) + 1].item() / 1000  # times are milliseconds


changes = {}
for name, shaped in (("a recording", sound), ("a batch of one recording", sound[None])):
    for chunks in (1, 10, 100):
        frames, changes[name, chunks] = found(shaped, chunks)
        print(f"{name}, {chunks} chunks: {frames} frames, the change of {CHANGE} s is at {changes[name, chunks]:.2f} s")
right = {change for (name, chunks), change in changes.items() if chunks == 1 or name != "a recording"}
assert len(right) == 1 and abs(right.pop() - CHANGE) < 0.05
if changes["a recording", 100] < CHANGE + 0.5:
    raise SystemExit("a recording in chunks has its F0 at its times now")
PY
