#!/bin/sh
# datasets 5.2.0: of an array of integer samples, `Audio` makes a square wave at full scale.
#
# Expected: `{"array": ..., "sampling_rate": ...}` is the sound of the array: 16-bit samples, as
#   `scipy.io.wavfile.read`, `wave` and `soundfile.read(..., dtype="int16")` give them, are scaled to [-1, 1], as
#   soundfile does it; or an error tells that floating point is needed.
# Seen: a tone with a peak of 0.5 has one of 1 and a mean power 8 times its own; what was positive is 1, what was
#   negative is -1. Of samples of 32 bits likewise, of 8 bits (unsigned) a constant remains. It is stored so in the
#   Arrow or Parquet file: what a corpus is built of is lost. Quiet rooms become noise at full scale. Nothing tells,
#   neither here nor in torchcodec.
# Why: the array is cast to float32, not scaled, and the encoder clips to [-1, 1]. Before, soundfile looked at the type.
# Source: datasets/features/audio.py, `Audio.encode_example`:
#   `AudioEncoder(torch.from_numpy(value["array"].astype(np.float32)), ...)`, since
#   https://github.com/huggingface/datasets/pull/7761; that the encoder clips without a word:
#   https://github.com/meta-pytorch/torchcodec/issues/1576
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has all of them
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet datasets==5.2.0 torchcodec==0.17.0 torch==2.14.1 av==18.1.0 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
mkdir ffmpeg # torchcodec needs FFmpeg's libraries; those of av are linked by the names that it looks for
packages=$("$python" -c 'from pathlib import Path; import av; print(Path(av.__file__).parent.parent)')
for library in "$packages"/av.libs/*; do
    name=$(basename "$library")
    ln -s "$library" "ffmpeg/$name"
    ln -s "$library" "ffmpeg/$(echo "$name" | sed -E 's/-[0-9a-f]{8}(\.so\.[0-9]+).*/\1/')" 2>/dev/null || true
done
export LD_LIBRARY_PATH="$folder/ffmpeg" HF_HOME="$folder/cache" HF_HUB_OFFLINE=1
cat > integers.py <<'PY'
from importlib.metadata import version

import numpy as np
from datasets import Audio, Dataset, Features

print("datasets", version("datasets"), "torchcodec", version("torchcodec"))
RATE = 16_000
tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
sounds = {
    "float32": tone.astype(np.float32),
    "float64": tone,
    "int16": (tone * 2**15).round().astype(np.int16),
    "int32": (tone * 2**31).round().astype(np.int32),
}
power = {}
for name, samples in sounds.items():
    rows = Dataset.from_dict(
        {"audio": [{"array": samples, "sampling_rate": RATE}]}, features=Features({"audio": Audio()})
    )
    heard = rows[0]["audio"].get_all_samples().data[0].numpy()
    power[name] = np.square(heard).mean() / np.square(tone).mean()
    full = (np.abs(heard) > 0.999).mean()
    print(f"{name}: peak {np.abs(heard).max():.2f}, {power[name]:.2f} times the power, {full:.0%} at full scale")
assert abs(power["float32"] - 1) < 0.001 and abs(power["float64"] - 1) < 0.001
if min(power["int16"], power["int32"]) < 2:
    raise SystemExit("integers are the sound that they say now")
PY
"$python" integers.py
