#!/bin/sh
# kaldiio 2.18.1: a WAV file in A-law or mu-law is read as if its bytes were linear samples, without a word.
#
# Expected: samples of the telephone codec, as soundfile gives them, or an error, as for WAV of 24 bits ("bytes_per_sample
#   must be 1, 2, 4 or 8") and as from Python's `wave` module ("unknown format: 6").
# Seen: `load_mat`, `load_scp` and so a wav.scp of telephone speech give the bytes of the codec as `uint8`. Half of full
#   scale is 143 in place of 192 in mu-law; a tone followed by silence has a correlation of 0.44 with what it should be, 0.58
#   in A-law, and silence is near full scale (0.99 and 0.66). IMA ADPCM, of 4 bits a sample, comes as half as many bytes.
# Source: kaldiio/python_wave.py, `Wave_read._read_fmt_chunk`, a copy of Python's module: the test of the format
#   (`wFormatTag != WAVE_FORMAT_PCM ...`) is commented out, so kaldiio/wavio.py, `read_wav`, sees one byte a sample and
#   takes it for PCM.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has both
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet kaldiio==2.18.1 soundfile==0.14.0
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
from importlib.metadata import version

import kaldiio
import numpy as np
import soundfile

print("kaldiio", version("kaldiio"))
RATE = 8_000
tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
found = {}
for subtype in ("PCM_U8", "ULAW", "ALAW", "IMA_ADPCM"):
    soundfile.write("a.wav", np.concatenate([tone, np.zeros(RATE)]), RATE, subtype=subtype)
    with open("wav.scp", "w") as file:
        file.write("call a.wav\n")
    rate, bytes_read = kaldiio.load_scp("wav.scp")["call"]
    samples = (bytes_read.astype(float) - 128) / 128  # of unsigned samples of 8 bits, as the data type says
    right = soundfile.read("a.wav")[0][: len(samples)]
    found[subtype] = np.corrcoef(samples, right[: len(samples)])[0, 1]
    print(
        f"{subtype}: {len(samples)} samples of {soundfile.info('a.wav').frames} as {bytes_read.dtype}, correlation with "
        f"those of soundfile {found[subtype]:.2f}, silence at {samples[-100:].mean():.2f}"
    )
assert found["PCM_U8"] > 0.99, "the comparison is wrong"
if max(found["ULAW"], found["ALAW"], found["IMA_ADPCM"]) > 0.9:
    raise SystemExit("samples are those of the codec now")
PY
