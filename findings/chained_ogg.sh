#!/usr/bin/env bash
# libsndfile (soundfile 0.14.0) reads the first stream of a chained Ogg file and says that this is all;
# FFmpeg (av 18.1.0) reads on, but of chained Vorbis adds samples at the joint and loses some at the end.
# Expected: RFC 3533, section 4: "chaining ... concatenated logical bitstreams" is valid Ogg, and a decoder gives the
# samples of each, 16000 + 12800 here. https://www.rfc-editor.org/rfc/rfc3533#section-4
# Exits with 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q soundfile==0.14.0 av==18.1.0 numpy
"$folder/venv/bin/python" - <<'PY'
import io
import sys

import av
import numpy as np
import soundfile


def ogg(hertz, last, seconds):
    time = np.arange(round(16_000 * seconds)) / 16_000
    samples = 0.4 * np.sin(2 * np.pi * (hertz + (last - hertz) * time / seconds / 2) * time)
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="OGG", subtype="VORBIS")
    return file.getvalue(), samples


(first, low), (second, high) = ogg(300, 800, 1.0), ogg(900, 1_500, 0.8)
alone = [soundfile.read(io.BytesIO(content))[0] for content in (first, second)]
print("one by one, libsndfile:", [len(samples) for samples in alone])
chained = first + second
with soundfile.SoundFile(io.BytesIO(chained)) as file:
    by_libsndfile = len(file.read())
    print("chained, libsndfile:", by_libsndfile, "of which it says there are", file.frames)
with av.open(io.BytesIO(chained)) as container:
    found = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def shift(piece):
    """Where a piece of the sound is found in what was decoded; None if it is not."""
    scores = np.correlate(found, piece, "valid")
    place = int(scores.argmax())
    norm = np.sqrt((piece**2).sum() * (found[place : place + len(piece)] ** 2).sum())
    return place if scores[place] / norm > 0.98 else None


print("chained, FFmpeg:", len(found), "samples of", len(low) + len(high))
middle, end = shift(high[4_000:4_800]), shift(high[-200:])
print("the second stream begins", middle - 4_000 - len(low), "samples late; its last 200 samples are", end and "there" or "lost")
expected = by_libsndfile == 16_000 and middle - 4_000 > len(low) and end is None
sys.exit(0 if expected else 1)
PY
