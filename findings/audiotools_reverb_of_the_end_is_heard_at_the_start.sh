#!/bin/sh
# descript-audiotools 0.7.2: reverberation of an utterance's end is heard before its start, and rooms and noises are cut for good
#   by the shortest utterance.
#
# Expected: `convolve` and `apply_ir` give the sound in a room: nothing is heard before it was said, and what rings after the end
#   is cut off. Mixing and reverberation change the utterance ("in-place modification"), not the room or noise given,
#   which the next utterance is given, too.
# Seen: 1. An utterance of a second of silence and a second of noise, in a room whose sound falls by 60 dB in a second: the first
#   0.1 s have the level that the reverberation after the end should have, 3 dB below the noise in the room. The pause before
#   speech is not silent any more; a model for dereverberation learns what no room does.
#   2. After an utterance of 0.25 s the room that was given, of 1 s, has 0.25 s, and all later utterances have no more of it; the
#   same noise, of 10 s, has 0.25 s after `mix`, is 10 dB weaker, and later utterances have no noise after 0.25 s.
# Source: audiotools/core/effects.py: `convolve`, whose Fourier transforms have the utterance's length, which makes it circular;
#   `other.truncate_samples(self.signal_length)` there and in `mix`.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    # It asks for an old protobuf, so for an old TensorBoard, so for an old NumPy: named here, as pip looks for them for long.
    old="tensorboard==2.10.1 numpy==1.26.4"
    "$folder/venv/bin/pip" install --quiet descript-audiotools==0.7.2 torch==2.14.1 torchaudio==2.11.0 $old
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
from importlib.metadata import version

import torch
from audiotools import AudioSignal

RATE = 16_000
random = torch.Generator().manual_seed(0)


def noise(seconds):
    return 0.1 * torch.randn(1, 1, int(seconds * RATE), generator=random)


def level(sound):
    return 10 * float(sound.square().mean().log10())


print("descript-audiotools", version("descript-audiotools"))
speech = torch.cat([torch.zeros(1, 1, RATE), noise(1)], dim=-1)
room = noise(1) * torch.exp(-6.9 * torch.arange(RATE) / RATE)  # falls by 60 dB in a second
room[..., 0] = 0.5
given = AudioSignal(room.clone(), RATE)
heard = AudioSignal(speech.clone(), RATE).convolve(given).audio_data[0, 0]
size = 4 * RATE
full = torch.fft.irfft(torch.fft.rfft(speech, size) * torch.fft.rfft(room, size), size)[0, 0]
scale = heard[RATE + 8_000 :].norm() / full[RATE + 8_000 : 2 * RATE].norm()
begin, after, during = level(heard[:1_600]), level(scale * full[2 * RATE :][:1_600]), level(heard[-8_000:])
print(f"first 0.1 s, which are silent: {begin:.1f} dB; after the end: {after:.1f} dB; speech in the room {during:.1f} dB")
print(f"first 0.1 s without going round: {level(full[:1_600] + 1e-9):.1f} dB")

AudioSignal(noise(0.25), RATE).convolve(given)
later = AudioSignal(noise(10), RATE)
before = later.audio_data.clone()
AudioSignal(noise(0.25), RATE).mix(later, snr=10)
left, weaker = later.signal_length / RATE, level(before) - level(later.audio_data)
cut = given.signal_length == later.signal_length == RATE // 4
print(f"after 0.25 s of speech the room has {given.signal_length / RATE} s, the noise {left} s, {weaker:.1f} dB weaker")
mixed = AudioSignal(noise(2), RATE)
clean = mixed.audio_data.clone()
added = (mixed.mix(later, snr=10).audio_data - clean)[0, 0]
print(f"noise in the next utterance of 2 s: until {int(added.nonzero().max() + 1) / RATE} s")
wraps = abs(begin - after) < 1 and begin > during - 10
if not wraps and not cut:
    raise SystemExit("rooms and noises are as given now, and what was said is heard later")
if not (wraps and cut):
    raise SystemExit("one of the two is mended now")
PY
