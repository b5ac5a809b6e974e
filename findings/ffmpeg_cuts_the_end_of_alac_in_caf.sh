#!/bin/sh
# FFmpeg 8 (av 18.1.0): ALAC in a CAF file loses up to 128 ms of its end, while its duration is right.
#
# Expected: as many samples as the file has, and as FFmpeg itself says by `duration`: ALAC is lossless, and the packet table
#   of CAF says how many frames are valid.
# Seen: 48,000 samples at 16 kHz become 46,848: the last 72 ms are not there, and nothing tells. Losses are as long as the
#   part that the last packet of 4096 lacks, if this is at most half a packet; if it is more, nothing is lost, so that of
#   files of all lengths about half are cut. libsndfile gives all samples.
# Why: the packet table counts frames that the last packet lacks as `mRemainderFrames`, to be cut off where a codec has
#   whole packets only, and FFmpeg puts this number on the last packet, as `skip_samples`. But an ALAC packet tells its own
#   length, so that its decoder gives no more than the valid frames, and these are cut once more.
# Source: libavformat/cafdec.c (packets) and libavcodec/alac.c (their length). Specification, "Packet Table Chunk":
#   https://developer.apple.com/library/archive/documentation/MusicAudio/Reference/CAFSpec/CAF_spec/CAF_spec.html
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has both
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet soundfile==0.14.0 av==18.1.0 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import struct
from pathlib import Path

import av
import numpy as np
import soundfile

print("av", av.__version__, "with libavformat", ".".join(map(str, av.library_versions["libavformat"])))
RATE = 16_000
noise = 0.1 * np.random.default_rng(0).standard_normal(4 * RATE)
lost = {}
for count in (48_000, 14_337, 14_335, 12_388, 2_000):
    soundfile.write("a.caf", noise[:count], RATE, subtype="ALAC_16")
    content = Path("a.caf").read_bytes()
    valid, _, remainder = struct.unpack_from(">qii", content, content.index(b"pakt") + 12 + 8)
    whole, _ = soundfile.read("a.caf", dtype="int16")
    with av.open("a.caf") as container:
        duration = round(container.duration * RATE / av.time_base)
        found = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(whole) == valid == duration == count, "the file is another than expected"
    assert np.array_equal(found, whole[: len(found)]), "the samples are others"
    lost[count] = count - len(found)
    print(f"{count} samples, remainder {remainder}: FFmpeg says {duration}, and gives {len(found)}; {lost[count]} lost")
if lost[48_000] != 1_152:
    raise SystemExit("the end is read otherwise now")
PY
