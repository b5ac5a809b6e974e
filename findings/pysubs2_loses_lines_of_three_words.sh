#!/bin/sh
# pysubs2 1.8.1: of WebVTT captions with a time for each word, every line of three words is lost; names of cues and comments
#   become speech.
#
# Expected: a cue's text goes from the line with `-->` to the empty line. Times within it, like <00:00:04.800> before each word
#   but the first, as automatic captions of video sites have them, belong to the text and are not shown. A line before `-->`
#   is a cue's identifier (meeting software writes long ones), a block that begins with NOTE is a comment; both are no text.
# Seen: a line with two times, so of three words, is taken for the times of another cue: the cue is empty, another one with the
#   times of its second and third word stands beside it, and the words are nowhere. In all other lines the times stay between
#   the words. A cue's name and a comment are at the end of the text before them (only a name that is a number is left out).
#   `plaintext`, the text without markup, is no different. webvtt-py reads all of them as they are meant.
# Source: pysubs2/formats/subrip.py, `from_file`: a line with two times anywhere begins a cue, and all lines until the next such
#   line are its text; formats/webvtt.py, "Currently, this shares implementation with SubripFormat".
#   https://www.w3.org/TR/webvtt1/#webvtt-cue-timestamp, #webvtt-cue-identifier, #introduction-comments
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has both
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet pysubs2==1.8.1 webvtt-py==0.6.0
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
from importlib.metadata import version

import pysubs2
import webvtt

TIMED = """WEBVTT

00:00:01.000 --> 00:00:04.000
how<00:00:01.400><c> many</c><00:00:01.600><c> do</c><00:00:01.800><c> you</c><00:00:02.000><c> have</c>

00:00:04.000 --> 00:00:06.000
about<00:00:04.800><c> seven</c><00:00:05.200><c> thousand</c>

00:00:06.000 --> 00:00:08.000
not<00:00:06.500><c> more</c>
"""
TIMED_WORDS = ["how many do you have", "about seven thousand", "not more"]
NAMED = """WEBVTT

5f9c0d1e-2b34-4a5e-9c1d-0123456789ab/12-0
00:00:01.000 --> 00:00:02.000
<v Ann>How many do you have?</v>

5f9c0d1e-2b34-4a5e-9c1d-0123456789ab/13-0
00:00:03.000 --> 00:00:04.000
<v Bob>Seven thousand.</v>

NOTE
The second speaker is hard to understand.

00:00:05.000 --> 00:00:06.000
<v Ann>Really?</v>
"""
NAMED_WORDS = ["How many do you have?", "Seven thousand.", "Really?"]

print("pysubs2", version("pysubs2"), "webvtt-py", version("webvtt-py"))
found = []
for captions, expected in ((TIMED, TIMED_WORDS), (NAMED, NAMED_WORDS)):
    assert [caption.text for caption in webvtt.from_string(captions)] == expected
    found.append(pysubs2.SSAFile.from_string(captions).events)
    print(f"expected {expected}; pysubs2 has")
    for event in found[-1]:
        print(f"    {event.start} to {event.end} ms: {event.plaintext!r}")
timed, named = found
lost = [event.plaintext for event in timed if 4000 <= event.start < 6000] == ["", ""] and timed[2].start == 4800
kept = "<00:00:01.400>" in timed[0].plaintext
said = named[0].plaintext.endswith("ab/13-0") and named[1].plaintext.endswith("hard to understand.")
if not (lost and kept and said):
    raise SystemExit("cues have their own words now")
PY
