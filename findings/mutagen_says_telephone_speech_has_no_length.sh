#!/bin/sh
# mutagen 1.48.1: 30 s of telephone speech in WAV, as GSM 6.10 or ADPCM, are said to be 0.09 s or less long.
#
# Expected: `mutagen.File(path).info.length` is "audio length, in seconds", by which hours of a corpus are counted and utterances
#   of less than a second left out; for a codec that it does not know, an error or no length.
# Seen: recordings of 30 s at 8 kHz: GSM 6.10 is 0.09 s, IMA ADPCM and Microsoft ADPCM are 0.06 s long (1/320 and 1/500), A-law
#   and PCM are 30 s long. tinytag and libsndfile tell 30 s of all of them (0.1 s more at most, as blocks are filled up).
# Source: mutagen/wave.py: a frame is taken for a sample: size of the data by the block's size, which is 65 bytes for 320 samples
#   in GSM; the file's `fact` chunk, which has the number of samples, is not read. Another value of such a file was
#   mended after https://github.com/quodlibet/mutagen/issues/578, the length was not.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has all of them
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet mutagen==1.48.1 tinytag==2.3.2 soundfile==0.14.0 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import mutagen
import numpy as np
import soundfile
from tinytag import TinyTag

RATE, SECONDS = 8_000, 30
sound = 0.1 * np.random.default_rng(0).standard_normal(RATE * SECONDS)
print("mutagen", mutagen.version_string)
found = {}
for codec in ("PCM_16", "ALAW", "GSM610", "IMA_ADPCM", "MS_ADPCM"):
    soundfile.write("a.wav", sound, RATE, subtype=codec)
    found[codec] = mutagen.File("a.wav").info.length
    others = (TinyTag.get("a.wav").duration, soundfile.info("a.wav").duration)
    print(f"{codec}: {found[codec]:.3f} s; tinytag {others[0]:.3f} s, libsndfile {others[1]:.3f} s")
    assert all(SECONDS <= other < SECONDS + 0.1 for other in others)
assert found["PCM_16"] == found["ALAW"] == SECONDS
if not all(found[codec] < 0.1 for codec in ("GSM610", "IMA_ADPCM", "MS_ADPCM")):
    raise SystemExit("lengths are told rightly, or not at all, now")
PY
