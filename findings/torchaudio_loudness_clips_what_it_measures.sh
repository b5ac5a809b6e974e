#!/bin/sh
# torchaudio 2.11.0: the loudness of loud sound is up to 2.3 dB too low, and a sound of half the amplitude may be only 4 dB
#   less loud.
#
# Expected: `loudness` follows ITU-R BS.1770-4, as its documentation says: half the amplitude is 6.02 dB less, whatever the
#   sound, and a sine of 997 Hz at full scale in one channel measures -3.01 LKFS (annex 1 of the recommendation).
# Seen: amplitudes of 0.1 and 0.01 differ by 20 dB, as expected; but at full scale a sine of 997 Hz measures -3.28, one of 2 kHz
#   1.7 dB and one of 3 kHz 2.3 dB too little, white noise within full scale 1.6 dB. Sound above full scale, as sums of
#   talkers in floating point before they are scaled, is measured as if it were clipped: 18 to 21 dB too little at 10 times
#   full scale. A corpus that is brought to one loudness by it has its loudest, brightest utterances too loud.
# Why: the K-weighting raises what is above 1 kHz by up to 4 dB, and each filter clips its output to [-1, 1] before the
#   energy is taken.
# Source: torchaudio/functional/functional.py, `loudness`, by `treble_biquad` and `highpass_biquad`; these call
#   torchaudio/functional/filtering.py, `biquad`, which calls `lfilter` with its default `clamp=True`.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has both
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet torch==2.14.1 torchaudio==2.11.0 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import math

import torch
import torchaudio
from torchaudio.functional import loudness

print("torchaudio", torchaudio.__version__)
torch.set_num_threads(1)
RATE = 48_000
time = torch.arange(5 * RATE) / RATE
generator = torch.Generator().manual_seed(0)
sounds = {f"sine of {f} Hz": torch.sin(2 * math.pi * f * time)[None] for f in (200, 997, 2000, 3000)}
sounds["white noise"] = 2 * torch.rand(1, 5 * RATE, generator=generator) - 1
missing = {}
for name, sound in sounds.items():
    measured = {scale: loudness(scale * sound, RATE).item() for scale in (0.01, 0.1, 0.5, 1.0, 10.0)}
    right = {scale: measured[0.01] + 20 * math.log10(scale / 0.01) for scale in measured}
    missing[name] = {scale: right[scale] - measured[scale] for scale in measured}
    print(f"{name}, peak 1: {measured[1.0]:.2f} LKFS, by a hundredth of it {right[1.0]:.2f};", end=" ")
    print(", ".join(f"{loss:.2f} dB missing at a peak of {scale}" for scale, loss in missing[name].items()))
    assert abs(missing[name][0.1]) < 0.02
assert abs(missing["sine of 200 Hz"][1.0]) < 0.02
if missing["sine of 3000 Hz"][1.0] < 0.5 or missing["sine of 997 Hz"][1.0] < 0.1:
    raise SystemExit("loud sound is measured like quiet sound now")
PY
