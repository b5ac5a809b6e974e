#!/bin/sh
# torchaudio 2.11.0: `fftconvolve` of audio and a room's response of round lengths takes eight times as long as with one
# sample more.
#
# Expected: a convolution by Fourier transforms pads to a length whose transform is fast, as `scipy.signal.fftconvolve`
#   does; a sample more or less makes no difference.
# Seen: 7 x 6 s at 16 kHz with a response of 0.2 s, 96,000 and 3,200 samples, take 42 ms; with a response of 3,201 samples
#   5 ms (one thread). The transform has 99,199 = 19 * 23 * 227 samples in the first case, and 99,200 in the second: the sum
#   of both lengths less one, which for round lengths is an odd number with large prime factors. 10 s with 0.3 s: 79 ms.
# Source: torchaudio/functional/functional.py, `fftconvolve`: `n = x.size(-1) + y.size(-1) - 1`, given to `torch.fft.rfft`.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet torch==2.14.1 torchaudio==2.11.0 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import time

import torch
import torchaudio
from torchaudio.functional import fftconvolve

print("torchaudio", torchaudio.__version__)
torch.set_num_threads(1)
audio = torch.randn(7, 96_000)


def milliseconds(response):
    """Processor time of a convolution, the least of seven."""
    taken = []
    for _ in range(7):
        began = time.process_time()
        fftconvolve(audio, torch.randn(7, response))
        taken.append(time.process_time() - began)
    return 1e3 * min(taken)


round_length, one_more = milliseconds(3_200), milliseconds(3_201)
print(f"3,200 samples: {round_length:.1f} ms; 3,201 samples: {one_more:.1f} ms")
if round_length < 2 * one_more:
    raise SystemExit("both lengths take about as long now")
PY
