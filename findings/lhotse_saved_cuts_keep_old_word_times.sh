#!/bin/sh
# lhotse 1.33.0: cuts that are saved to recordings of their own keep the word times of the recording they left.
#
# Expected: word times (`supervision.alignment`) are in time of the recording, so a cut that starts at 4 s of a long
#   recording and is saved alone (`save_audios`, `to_shar`, `move_to_memory`) gets times that count from its new start.
# Seen: the new cut starts at 0 and lasts 2 s, but its word still begins at 4.5 s. What reads the times as they stand
#   is 4 s off, and short offsets (a cut that starts at 0.3 s) look as if they were right.
# Source: lhotse/cut/data.py (save_audio, move_to_memory) and lhotse/shar/utils.py (to_shar_placeholder).
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet lhotse==1.33.0 urllib3 soundfile
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import soundfile
from lhotse import CutSet, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

soundfile.write("long.wav", np.zeros(160_000), 16_000)
cut = Recording.from_file("long.wav").to_cut()
word = AlignmentItem("hello", 4.5, 0.5)
cut.supervisions = [SupervisionSegment("s", "long", 4.0, 2.0, text="hello", alignment={"word": [word]})]
trimmed = CutSet.from_cuts([cut]).trim_to_supervisions().to_eager()

import pathlib

pathlib.Path("saved").mkdir()
pathlib.Path("shar").mkdir()
trimmed.to_shar("shar", fields={"recording": "wav"})
saved = {
    "save_audios": next(iter(trimmed.save_audios("saved"))),
    "to_shar": next(iter(CutSet.from_shar(in_dir="shar"))),
    "move_to_memory": next(iter(trimmed)).move_to_memory(),
}
for name, new in saved.items():
    start = new.supervisions[0].alignment["word"][0].start
    print(f"{name}: cut from {new.start} s, recording of {new.recording.duration} s, word at {start} s")
    assert new.start == 0 and new.recording.duration == 2.0, "the cut is no longer saved alone"
    assert start == 4.5, "word times follow the cut now"
PY
