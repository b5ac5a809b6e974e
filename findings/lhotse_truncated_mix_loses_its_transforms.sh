#!/bin/sh
# lhotse 1.33.0: `MixedCut.truncate` drops the transforms of the mixed cut without a word.
#
# Expected: a padded (or otherwise mixed) cut with reverberation that is truncated, or cut into windows, is a part of the
#   same reverberant audio.
# Seen: the part is exactly the dry recording, while the same with a cut that is not padded is reverberant.
# Source: lhotse/cut/mixed.py, `truncate`: the new MixedCut is made of the tracks alone, or is the one track that is left.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet lhotse==1.33.0 urllib3 soundfile torchaudio
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import soundfile
from lhotse import Recording

soundfile.write("a.wav", 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
cut = Recording.from_file("a.wav").to_cut()
dry = cut.load_audio()[:, :8000]
for name, base in (("as it is", cut), ("padded", cut.pad(duration=2.0))):
    reverberant = base.reverb_rir()
    whole, part = reverberant.load_audio()[:, :8000], reverberant.truncate(duration=0.5).load_audio()
    print(f"{name}: whole differs from dry by {abs(whole - dry).max():.3f}, its part by {abs(part - dry).max():.3f}")
    assert abs(whole - dry).max() > 0.05, "the cut is not reverberant"
    assert (abs(part - dry).max() == 0) == (name == "padded"), "the transforms are kept now"
PY
