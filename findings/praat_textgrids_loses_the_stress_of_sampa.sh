#!/bin/sh
# praat-textgrids 1.4.0: quotation marks of labels are lost or doubled; in SAMPA they are the primary stress.
#
# Expected: in a TextGrid a label stands in quotation marks, and one within it is written twice, as Praat's manual says; read, the
#   labels `"Ins3:t` (an insert) and `In"s3:t` (to insert), in SAMPA or X-SAMPA, are what they were, and so is `say "no"`.
# Seen: `"Ins3:t` is read as `Ins3:t`: no syllable is stressed. A stress within a label is doubled (`In""s3:t`), and a quotation
#   at the end of a label loses its end. What was lost is not in the file that `write` makes either. All this holds for the
#   long and the short text format; the binary format is read rightly, so that the same TextGrid has other labels by how it
#   was saved. tgt and textgrid give all labels as they were.
# Source: textgrids/__init__.py: `Transcript(grab(data[p + 2]).strip('"'))` and its like: all quotation marks at both ends go, and
#   doubled ones stay. https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has all of them
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet praat-textgrids==1.4.0 tgt==1.5 textgrid==1.6.1 pympi-ling==1.71 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
from importlib.metadata import version

import pympi
import textgrid
import textgrids
import tgt

LABELS = ['"Ins3:t', 'In"s3:t', 'say "no"', "plain"]
grid = pympi.TextGrid(xmax=len(LABELS))
tier = grid.add_tier("words")
for i, label in enumerate(LABELS):
    tier.add_interval(i, i + 1, label)

print("praat-textgrids", version("praat-textgrids"))
found = {}
for mode in ("normal", "short", "binary"):
    grid.to_file("a.TextGrid", mode=mode)
    if mode != "binary":  # which the other two do not read
        [others] = tgt.read_textgrid("a.TextGrid").tiers
        [another] = textgrid.TextGrid.fromFile("a.TextGrid").tiers
        assert [label.text for label in others] == [label.mark for label in another] == LABELS
    read = textgrids.TextGrid("a.TextGrid")
    found[mode] = [str(interval.text) for interval in read["words"]]
    print(f"{mode}: {LABELS} is read as {found[mode]}")
    if mode == "normal":
        read.write("b.TextGrid")
        [written] = tgt.read_textgrid("b.TextGrid").tiers
        print("    and written as", [label.text for label in written])
assert found["binary"] == LABELS
if found["normal"][0] != "Ins3:t" or found["normal"] != found["short"] or written[0].text != "Ins3:t":
    raise SystemExit("labels are read as they are now")
PY
