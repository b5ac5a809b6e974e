#!/bin/sh
# lhotse 1.33.0: a cut of another speed or tempo keeps the frames of its arrays where they were, without a word.
#
# Expected: units, pitch or alignments that are attached with `attach_tensor(..., frame_shift=...)` belong to the sound
#   after `perturb_speed` and `perturb_tempo` as before, as word times do; or they are detached with a warning, as features
#   are ("The feature manifest will be detached, as we do not support feature-domain speed perturbation").
# Seen: they stay at 25 frames a second of the old time, so that a part of the other cut gets frames of another place,
#   further off the later it is; at a speed of 1.1 the last 45 of 500 frames are lost, at 0.9 the end of the cut has none.
#   Nothing tells: a part has as many frames as its duration asks for.
# Source: lhotse/cut/data.py, `perturb_speed` and `perturb_tempo`: recording, supervisions and features are handled, `custom`
#   is copied as it is.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has both
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet lhotse==1.33.0 urllib3 soundfile torchaudio
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import numpy as np
import soundfile
from lhotse import Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

# 20 s of silence with a second of noise from 16 s on, the units of which are 1, those of silence 0.
RATE, FRAME = 16_000, 0.04
sound, units = np.zeros(20 * RATE), np.zeros(500, dtype=np.int64)
sound[16 * RATE : 17 * RATE] = 0.1 * np.random.default_rng(0).standard_normal(RATE)
units[400:425] = 1
soundfile.write("a.wav", sound, RATE)
cut = Recording.from_file("a.wav").to_cut()
noise = AlignmentItem("noise", 16.0, 1.0)
cut.supervisions = [SupervisionSegment("s", "a", 16.0, 1.0, alignment={"word": [noise]})]
cut = cut.attach_tensor("units", units, frame_shift=FRAME, temporal_dim=0)


def sounding(part):
    """Return which frames of a cut sound, by its audio, and which do by its units."""
    found, (audio,) = part.load_units(), part.load_audio()
    frames = audio[: len(found) * round(FRAME * RATE)].reshape(len(found), -1)
    return abs(frames).mean(1) > 0.01, found == 1


for name, other in (
    ("as it is", cut),
    ("speed 1.1", cut.perturb_speed(1.1)),
    ("speed 0.9", cut.perturb_speed(0.9)),
):
    (word,) = other.supervisions[0].alignment["word"]
    by_audio, by_units = sounding(other.truncate(offset=word.start, duration=0.8))
    print(f"{name}: {other.duration / FRAME:.0f} frames long, with {len(other.load_units())} units; where the noise is")
    print(f"    by its word time, {by_audio.sum()} of {len(by_audio)} frames sound, {by_units.sum()} have its unit")
    assert by_audio.all() and len(by_units) == 20, "the word time does not tell where the noise is"
    assert by_units.sum() == (20 if name == "as it is" else 0), "units follow the sound now"
assert len(cut.perturb_tempo(1.1).load_units()) == 455, "units follow the tempo now"
assert len(cut.perturb_speed(0.9).load_units()) == 500, "the end has units now"
PY
