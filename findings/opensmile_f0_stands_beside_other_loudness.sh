#!/bin/sh
# opensmile 2.6.0: in the low-level descriptors of GeMAPS and eGeMAPS, F0 of a row is 20 ms later than its loudness and than
#   the times of the row say.
#
# Expected: the table of `process_signal` has `start` and `end` in its index, 20 ms apart; all columns of a row describe the
#   sound at this time, so that a change of pitch and loudness at 2 s is found at 2 s in both.
# Seen: a tone that becomes higher and louder at 2 s changes its loudness at 1.996 s, by the middle of rows, and its F0 at
#   1.976 s, so that F0 stands beside the loudness of 20 ms before, and beside words that are laid on by `start` and `end`
#   it is 20 ms early. In ComParE_2016, whose rows have the length of the long frames, F0 is right and energy 20 ms late.
# Why: F0 is of frames of 60 ms, loudness and spectrum of frames of 20 ms; both begin at the same time, so that their
#   middles are 20 ms apart, and rows are joined by number. The index has the length of the short frames.
# Source: opensmile/core/config/gemaps/v01b/GeMAPSv01b_core.lld.conf.inc: `frameSize = 0.060` and `frameSize = 0.020`, both
#   with `frameCenterSpecial = left`.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet opensmile==2.6.0
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import numpy as np
import opensmile

print("opensmile", opensmile.__version__)
RATE, CHANGE = 16_000, 2.0
time = np.arange(4 * RATE) / RATE
phase = 2 * np.pi * np.cumsum(np.where(time < CHANGE, 120.0, 220.0)) / RATE
tone = sum(np.sin(k * phase) / k for k in range(1, 12)) * np.where(time < CHANGE, 0.05, 0.2)


def change(features, column):
    """Time at which a column is half way between its values before and after the change, by the middle of rows."""
    smile = opensmile.Smile(features, opensmile.FeatureLevel.LowLevelDescriptors)
    rows = smile.process_signal(tone, RATE)
    start, end = (rows.index.get_level_values(name).total_seconds().to_numpy() for name in ("start", "end"))
    middle, values = (start + end) / 2, rows[column].to_numpy()
    half = (values[120:180].mean() + values[220:280].mean()) / 2
    after = 120 + int((values[120:280] > half).argmax())
    part = (half - values[after - 1]) / (values[after] - values[after - 1])
    return middle[after - 1] + part * (middle[after] - middle[after - 1])


off = {}
for features, level, pitch in (
    (opensmile.FeatureSet.eGeMAPSv02, "Loudness_sma3", "F0semitoneFrom27.5Hz_sma3nz"),
    (opensmile.FeatureSet.ComParE_2016, "pcm_RMSenergy_sma", "F0final_sma"),
):
    found = change(features, level), change(features, pitch)
    off[features.value] = found[0] - found[1]
    print(f"{features.value}: {level} changes at {found[0]:.3f} s, {pitch} at {found[1]:.3f} s")
    assert min(abs(time - CHANGE) for time in found) < 0.008, "neither is where it is expected"
if min(off.values()) < 0.015:
    raise SystemExit("F0 stands beside the level of the same time now")
PY
