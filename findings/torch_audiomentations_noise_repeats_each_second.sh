#!/bin/sh
# torch-audiomentations 0.12.0: `AddColoredNoise` adds the same second of noise over and over, and its pink noise is
#   nearly brown.
#
# Expected: noise with a power of "1/f**f_decay", "pink noise" for 1 and "brown noise" for 2: 3.0 and 6.0 dB less with
#   each octave. Noise at one time says nothing about noise at another, as of the room or the microphone that it stands
#   for.
# Seen: the noise repeats each second, to within rounding: the difference of samples a second apart has none of it, at
#   any SNR. A model that is trained to denoise or to be robust with utterances of more than a second can learn that.
#   Above 500 Hz pink noise falls by 5 to 6 dB with each octave, brown by 10 to 12, blue and violet rise as fast; below,
#   the slope fades. By default `f_decay` is drawn from -2 to 2, which so means nearly -4 to 4 above 1 kHz.
# Why: one second of white noise is shaped and copied. It is shaped in amplitude, in which the exponent is half of that
#   in power, and by a ramp from 1 to the root of half the sample rate, linear in frequency, instead of frequency or its
#   root.
# Source: torch_audiomentations/augmentations/colored_noise.py, `_gen_noise` and the docstring of `AddColoredNoise`
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has all three
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet torch-audiomentations==0.12.0 torch==2.14.1 torchaudio==2.11.0 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import warnings
from importlib.metadata import version

import torch
from torch_audiomentations import AddColoredNoise

print("torch-audiomentations", version("torch-audiomentations"))
warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)
RATE, SECONDS = 16_000, 4
OCTAVES = [500, 1000, 2000, 4000]  # Hz, lower ends


def added(f_decay, count):
    """What is added to quiet white noise, each row to another one, 60 dB above it."""
    sound = 1e-4 * torch.randn(count, 1, SECONDS * RATE)
    options = {"min_f_decay": f_decay, "max_f_decay": f_decay, "p": 1.0, "output_type": "tensor"}
    transform = AddColoredNoise(min_snr_in_db=-60, max_snr_in_db=-60, sample_rate=RATE, **options)
    return (transform(sound) - sound)[:, 0]


[noise] = added(0, 1)
left = {lag: ((noise[lag:] - noise[:-lag]).square().mean() / noise.square().mean()).item() for lag in (RATE // 2, RATE)}
for lag, part in left.items():
    print(f"white noise, less that of {lag / RATE} s before: {part:.2g} times its power (2 if both are independent)")
steps = {}
for name, f_decay in (("white", 0), ("pink", 1), ("brown", 2)):
    power = torch.fft.rfft(added(f_decay, 30)).abs().square().mean(0)
    levels = [10 * power[low * SECONDS : 2 * low * SECONDS].mean().log10().item() for low in OCTAVES]
    steps[name] = [after - before for before, after in zip(levels, levels[1:])]
    told = ", ".join(f"{step:.1f}" for step in steps[name])
    print(f"{name}: {told} dB from octave to octave above {OCTAVES[0]} Hz, {-3.01 * f_decay:.1f} expected")
assert abs(left[RATE // 2] - 2) < 0.1 and max(map(abs, steps["white"])) < 0.3, "the measurement is wrong"
if left[RATE] > 1e-6 or max(steps["pink"]) > -4 or max(steps["brown"]) > -8:
    raise SystemExit("noise goes on, or has the colour that its name says now")
PY
