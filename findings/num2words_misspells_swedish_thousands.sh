#!/bin/sh
# num2words 0.5.14: Swedish thousands have three t, and every number from 1,000 to 1,999 with them.
#
# Expected: "ettusen" (Swedish writes no three equal consonants in a row), or "ett tusen".
# Seen: "etttusen"; likewise 21,000 is "tjugoetttusen". A text tokenizer or a pronunciation gets a word that is in no text.
# Source: num2words/lang_SV.py, `merge`, joins the two names as they are.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet num2words==0.5.14
"$folder/venv/bin/python" - <<'PY'
from num2words import num2words

for value in (1000, 21_000):
    print(value, num2words(value, lang="sv"))
assert num2words(1000, lang="sv") == "etttusen", "the spelling has changed"
assert num2words(21_000, lang="sv") == "tjugoetttusen", "the spelling has changed"
PY
