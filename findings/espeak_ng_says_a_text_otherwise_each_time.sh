#!/usr/bin/env bash
# eSpeak NG (espeakng-loader 0.2.4) says the same text with the same voice otherwise when another text was said before in
# the process: other samples, though the random seed is set anew before each text. A new process says it alike.
# Expected: the library has espeak_ng_SetRandSeed for this, and speak_lib.h documents no state between two calls of
# espeak_Synth. https://github.com/espeak-ng/espeak-ng/blob/master/src/include/espeak-ng/speak_lib.h
# Why it matters: corpora and benchmarks of synthetic speech that are made again, or by another number of processes, have
# other files, and so other units.
# Exits with 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q espeakng-loader==0.2.4
cat > "$folder/say.py" <<'PY'
import ctypes
import hashlib
import sys

import espeakng_loader

library = ctypes.CDLL(espeakng_loader.get_library_path())
library.espeak_Info.restype = ctypes.c_char_p
library.espeak_Initialize(2, 500, espeakng_loader.get_data_path().encode(), 0x8000)  # AUDIO_OUTPUT_SYNCHRONOUS
chunks = []


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
def receive(samples, count, events):
    if count > 0:
        chunks.append(ctypes.string_at(samples, 2 * count))
    return 0


library.espeak_SetSynthCallback(receive)
assert library.espeak_SetVoiceByName(b"en-us") == 0


def say(text):
    chunks.clear()
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    assert library.espeak_Synth(text.encode(), len(text) + 1, 0, 1, 0, 1, None, None) == 0
    sound = b"".join(chunks)
    return f"{len(sound) // 2} samples, {hashlib.sha256(sound).hexdigest()[:8]}"


text = "The fox carried the lamp towards the river."
if sys.argv[1:]:
    print(say(text))
else:
    print("version", library.espeak_Info(None).decode())
    print("first  ", first := say(text))
    say("A happy dog lived near the school.")
    print("again  ", again := say(text))
    open(sys.argv[0] + ".out", "w").write(f"{first}\n{again}\n")
PY
"$folder/venv/bin/python" "$folder/say.py"
new=$("$folder/venv/bin/python" "$folder/say.py" alone)
echo "another process: $new"
{ read -r first; read -r again; } < "$folder/say.py.out"
[ "$new" = "$first" ] && [ "$first" != "$again" ] || { echo "This has changed."; exit 1; }
