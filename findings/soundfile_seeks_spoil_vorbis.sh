#!/bin/sh
# soundfile 0.14.0 (libsndfile 1.2.2): in Ogg Vorbis, `seek` says that it is where it was asked to go, and then reads
#   something else.
#
# Expected: what is read after `seek(place)`, or by `read(start=place)`, is the whole file's sound from that place on, as it
#   is for WAV and FLAC.
# Seen: 1. After a seek forward of less than two seconds, as when the utterances of a long recording are read in order from
#   one open file, up to 500 samples at the beginning (30 ms at 16 kHz) are another sound, as loud as the right one.
#   2. After a seek into the last page of some files (of this length, not of 30 s), also of a file just opened, all that
#   follows comes 128 samples early (8 ms).
#   `seek` returns the place asked for, and the number of samples is right in both cases.
# Source: libsndfile's src/ogg_vorbis.c. 1. `vorbis_skip`: the packets on the way are tracked but not decoded, also the one
#   that the first samples overlap with; https://github.com/libsndfile/libsndfile/issues/885 (open since 2022).
#   2. `vorbis_calculate_granulepos` counts back from the end of the last page, which may be cut short; its comment says that
#   no search gets there, but the log (`extra_info`) then has "Cannot calculate ambiguous last page duration".
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet soundfile==0.14.0 numpy
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import soundfile

RATE, LENGTH = 16_000, 4_000
time = np.arange(23 * RATE) / RATE
noise = np.random.default_rng(0).standard_normal(len(time))
sound = 0.3 * np.sin(2 * np.pi * (200 + 20 * time) * time) + 0.05 * noise  # no place sounds like another


def compare(name, places):
    """Read each place from one open file, and alone; count those that are not what the whole file has there."""
    whole, wrong, late = soundfile.read(name)[0], [], []
    with soundfile.SoundFile(name) as file:
        for place in places:
            assert file.seek(place) == place
            found = file.read(LENGTH)
            differs = np.flatnonzero(abs(found - whole[place : place + LENGTH]) > 0.01)
            wrong.append(int(differs[-1]) + 1 if len(differs) else 0)
    for place in places:
        found = soundfile.read(name, start=place, frames=LENGTH)[0]
        around = whole[place - 1_000 : place + LENGTH + 1_000] if place else found
        late.append(int(np.correlate(around, found, "valid").argmax()) - (1_000 if place else 0))
    return wrong, late


ordered = list(range(0, 20 * RATE, LENGTH + 3_001))  # each begins 0.19 s after the end of the one before
last_page = [len(time) - LENGTH - 2_000, len(time) - LENGTH - 1_000]
for name in ("a.flac", "a.ogg"):
    soundfile.write(name, sound, RATE)
    (wrong, late), (_, at_end) = compare(name, ordered), compare(name, last_page)
    bad = [count for count in wrong if count]
    print(f"{name}: {len(bad)} of {len(wrong)} places begin with another sound, of at most {max(wrong)} samples")
    print(f"    a file opened for each place: {sum(map(bool, late))} are elsewhere; in the last page: {at_end} samples off")
    if name == "a.flac":
        assert not bad and not any(late + at_end), "the comparison is wrong"
assert len(bad) > len(wrong) / 2 and max(bad) > 100, "seeks forward are right now"
assert not any(late) and all(at_end), "the last page is read right now"
PY
