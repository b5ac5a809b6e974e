#!/bin/sh
# noisereduce 3.0.3: stationary noise reduction of several channels takes the noise of their average for that of each: the more
#   microphones, the less noise is removed, and a quiet channel beside a loud one becomes silence.
#
# Expected: `reduce_noise` takes input and noise of shape (channels, frames), and gives each channel what it gives it alone;
#   "the noise estimation is not shared between the channels", says a maintainer.
# Seen: of the same noise level in all channels, 26 dB are removed in pauses of one channel, 15 dB of two, 8 dB of four and 4 dB
#   of eight, without a word; 0.1 dB of two whose noise has opposite signs. In a call with a talker and a noise in each channel,
#   all of the second 40 dB weaker, the second talker is silenced (146 dB); alone, that channel keeps its speech (-0.4 dB).
#   So with `y_noise`, one recorded pause of each channel, and without.
# Why: the waveforms of the noise are averaged over channels before their spectrum is taken. Noise of separate microphones
#   cancels itself, by 3 dB for each doubling of their number, and thresholds a few dB too low let most of it pass. The same
#   thresholds then hold for all channels, whatever their levels.
# Source: noisereduce/spectralgate/stationary.py, "collapse y_noise to one channel": `np.mean(self.y_noise, axis=0)`.
#   https://github.com/timsainb/noisereduce/issues/114
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet noisereduce==3.0.3
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
from importlib.metadata import version

import numpy as np
from noisereduce import reduce_noise

RATE, SECONDS = 16_000, 10
time = np.arange(RATE * SECONDS) / RATE
random = np.random.default_rng(0)
half = np.sin(np.pi * time)  # seconds of speech, which is noise of all frequencies here, and of pause alternate
speech = np.where(half > 0, 0.2 * random.standard_normal(len(time)), 0)
pause = half < -0.1


def level(samples):
    return 10 * np.log10(np.mean(samples**2) + 1e-20)


def removed(noise):
    """dB of noise that are removed in the pauses of the first channel."""
    noisy = speech + noise
    clean = np.atleast_2d(reduce_noise(y=noisy, sr=RATE, y_noise=noise, stationary=True))
    return level(np.atleast_2d(noisy)[0, pause]) - level(clean[0, pause])


print("noisereduce", version("noisereduce"))
noise = 0.02 * random.standard_normal((8, len(time)))
found = {1: removed(noise[0])} | {count: removed(noise[:count]) for count in (2, 4, 8)}
print("removed in pauses:", ", ".join(f"{value:.1f} dB of {count} channels" for count, value in found.items()))
opposite = removed(np.stack([noise[0], -noise[0]]))
print(f"two channels of opposite noise: {opposite:.1f} dB")

# A call: each channel has a talker and its own noise, of which a pause of both was recorded; the second is 40 dB weaker.
hiss = np.stack([noise[0], 0.01 * noise[1]])
call = np.stack([speech, 0.01 * np.roll(speech, RATE)]) + hiss
talks = np.roll(half, RATE) > 0.1


def kept(clean):
    """dB of the weak talker that are left; a negative number is lost."""
    return level(clean[talks]) - level(call[1, talks])


alone = kept(reduce_noise(y=call[1], sr=RATE, y_noise=hiss[1], stationary=True))
beside = kept(reduce_noise(y=call, sr=RATE, y_noise=hiss, stationary=True)[1])
print(f"weak talker: {alone:.1f} dB alone, {beside:.1f} dB beside the other")
assert found[1] > 25 and alone > -1
if not (found[2] < 20 and found[4] < 10 and found[8] < 6 and opposite < 1 and beside < -20):
    raise SystemExit("channels have thresholds of their own now")
PY
