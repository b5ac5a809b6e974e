#!/bin/sh
# FFmpeg 8 (av 18.1.0): the noise reduction `afftdn` delays speech by 25 ms, and cuts as much from its end; its timestamps say
#   that nothing moved.
#
# Expected: the sound of a frame with timestamp t is the sound of time t; a filter that looks ahead shifts its timestamps
#   back (`firequalizer` with `zero_phase`) or gives out what is held back at the end (`adeclick`, `afwtdn`, `dynaudnorm`: no
#   delay). Denoised speech then fits the word times, units and F0 of the original, sample by sample, as training and
#   scoring of enhancement (SI-SDR, STOI) ask.
# Seen: at 16 kHz all sound is 400 samples late, the first 400 are silence, the last 400 are lost; there are as many samples
#   as before and the first timestamp is 0. The same with 1 dB of reduction. A word of the last 25 ms is silence then.
#   `anlmdn` is late by 8 ms, `superequalizer` by 4,095 samples (256 ms at 16 kHz). The manual speaks of none of these;
#   of `alimiter` it does, and has the option `latency`.
# Source: libavfilter/af_afftdn.c, `output_frame`: overlapping windows are added and the oldest `sample_advance` samples go
#   out with the pts of the newest input, `window_length - sample_advance` samples later; `activate` passes on the end of
#   the stream without a last window. https://ffmpeg.org/ffmpeg-filters.html#afftdn
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has both
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet av==18.1.0 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
from fractions import Fraction

import av
import av.filter
import numpy as np

RATE = 16_000
version = ".".join(str(part) for part in av.library_versions["libavfilter"])
print("av", av.__version__, "libavfilter", version)
time = np.arange(2 * RATE) / RATE
tone = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 12)) * np.sin(2 * np.pi * 3.1 * time) ** 2
speech = (6000 * tone + 100 * np.random.default_rng(0).standard_normal(len(time))).round().astype(np.int16)


def filtered(name, options=None):
    """Samples that a filter makes of the speech, and the time of the first by its timestamp."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(format="s16", sample_rate=RATE, layout="mono", time_base=Fraction(1, RATE))
    middle = graph.add(name, options) if options else graph.add(name)
    form = graph.add("aformat", f"sample_fmts=s16:sample_rates={RATE}:channel_layouts=mono")
    sink = graph.add("abuffersink")
    source.link_to(middle)
    middle.link_to(form)
    form.link_to(sink)
    graph.configure()
    parts, first = [], None
    for start in [*range(0, len(speech), 1000), None]:
        if start is None:
            source.push(None)
        else:
            frame = av.AudioFrame.from_ndarray(speech[None, start : start + 1000], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            source.push(frame)
        while True:
            try:
                frame = sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break
            first = frame.pts * frame.time_base if first is None else first
            parts.append(frame.to_ndarray()[0])
    return np.concatenate(parts), float(first)


def delay(samples):
    """Samples by which the sound is later than in the original."""
    size = 1 << 17
    product = np.fft.rfft(samples.astype(float), size) * np.fft.rfft(speech.astype(float), size).conj()
    return int(np.fft.irfft(product)[: size // 2].argmax())


late = {}
for name, options in (
    ("anull", None),
    ("afwtdn", None),
    ("adeclick", None),
    ("afftdn", None),
    ("afftdn", "nr=1"),
    ("anlmdn", None),
    ("superequalizer", None),
):
    samples, first = filtered(name, options)
    late[name, options] = delay(samples)
    print(
        f"{name} {options or ''}: {len(samples):,} of {len(speech):,} samples, the first at {first:.3f} s;"
        f" the sound is {late[name, options]:,} samples late ({1000 * late[name, options] / RATE:.1f} ms)"
    )
    assert len(samples) == len(speech) and first == 0
assert not late["anull", None] and not late["afwtdn", None] and not late["adeclick", None]
if min(late["afftdn", None], late["afftdn", "nr=1"]) < 100:
    raise SystemExit("afftdn keeps its time now")
PY
