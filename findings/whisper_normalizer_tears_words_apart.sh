#!/bin/sh
# transformers 5.24.0: Whisper's BasicTextNormalizer puts a space in place of every vowel sign.
#
# Expected: normalisation for word error rates leaves the words of a language whole; a sentence of four Hindi words is
#   four words, and two words that differ in a vowel sign differ.
# Seen: "वह किताब पढ़ती है" becomes seven fragments, vowels gone, and "की" (of) and "का" (of, masculine) are the same word. Thai,
#   Tamil, Bengali and all scripts with combining vowels are alike. Word error rates in them are of fragments.
# Source: transformers/models/whisper/english_normalizer.py, `remove_symbols`: categories M, S and P become spaces.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
from transformers.models.whisper.english_normalizer import BasicTextNormalizer

normalise = BasicTextNormalizer()
sentence = "वह किताब पढ़ती है"
print(len(sentence.split()), "words:", sentence, "->", len(normalise(sentence).split()), "words:", normalise(sentence))
assert normalise(sentence).split() == ["वह", "क", "त", "ब", "पढ", "त", "ह"], "words stay whole now"
assert normalise("की") == normalise("का"), "vowel signs tell words apart now"
PY
