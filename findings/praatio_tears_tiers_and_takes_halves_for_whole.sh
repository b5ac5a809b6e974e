#!/bin/sh
# praatio 6.2.2: a label `IntervalTier` tears its tier in two, and half a TextGrid is read as a whole one.
#
# Expected: a TextGrid in the short format with two tiers, of four intervals and of one, is read as that whatever the
#   labels are (they are quoted, and counts say where a tier ends); a file that ends in the middle of its first tier is an
#   error (in Praat: "not finished").
# Seen: with the label `IntervalTier` there are three tiers, the first of which has lost three intervals, without an error;
#   and of the file that was cut off there is one tier of as many intervals as happen to be there, so that words at the
#   end of an utterance are lost. In the long format a label with `item [` is refused.
# Source: praatio/utilities/textgrid_io.py: tiers are found by searching the text for "IntervalTier", "TextTier" and
#   `item [`, and the counts are not read.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet praatio==6.2.2
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
from pathlib import Path

from praatio.textgrid import openTextgrid


def grid(label):
    words = "".join(f'{i}\n{i + 1}\n"{word}"\n' for i, word in enumerate(("one", label, "three", "four")))
    tiers = f'"IntervalTier"\n"words"\n0\n4\n4\n{words}"IntervalTier"\n"speaker"\n0\n4\n1\n0\n4\n"ann"\n'
    return f'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n4\n<exists>\n2\n{tiers}'


def read(text):
    Path("a.TextGrid").write_text(text)
    tiers = openTextgrid("a.TextGrid", includeEmptyIntervals=True).tiers
    return [(tier.name, [entry.label for entry in tier.entries]) for tier in tiers]


whole = read(grid("two"))
assert whole == [("words", ["one", "two", "three", "four"]), ("speaker", ["ann"])], whole
torn = read(grid("IntervalTier"))
print("with a label IntervalTier:", torn)
half = read(grid("two").partition('2\n3\n"three')[0])
print("a file that ends after two of four intervals:", half)
assert len(torn) == 3 and "three" not in torn[0][1], "labels are no tiers now"
assert half == [("words", ["one", "two"])], "half a file is told now"
PY
