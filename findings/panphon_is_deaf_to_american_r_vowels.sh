#!/bin/sh
# panphon 0.22.2 with American English of phonemizer 3.4.0 (eSpeak NG): "teacher" and "teach" have a phoneme error rate of 0.
#
# Expected: `phoneme_error_rate` is the "edit distance in terms of phonemes", by "the total number of phones in the reference",
#   so that a vowel too few is an error; a symbol that the library does not know is an error, or another symbol.
# Seen: ɚ, the vowel at the end of "teacher", and ᵻ, that of "needed", are letters of eSpeak's voice en-us and not in panphon's
#   table (ɚ is on the IPA chart). They are left out of hypotheses and references without a word, so that sing and singer, act
#   and actor are the same, and needed is "n iː d d". Distances by features do the same. A hypothesis without any ɚ is perfect;
#   one with a near vowel in its place has an insertion. `validate_word` tells that such a word is not whole, but no distance
#   asks it. In British English, where eSpeak writes ə and ɪ, nothing is lost.
# Source: panphon/distance.py, `phoneme_error_rate`, by panphon/featuretable.py, `ipa_segs`: `include_invalid=False`.
#   https://github.com/dmort27/panphon/pull/39; https://www.internationalphoneticassociation.org/content/full-ipa-chart
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has all three
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet panphon==0.22.2 phonemizer==3.4.0 espeakng-loader==0.2.4
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
from importlib.metadata import version

import espeakng_loader
from panphon.distance import Distance
from phonemizer import phonemize
from phonemizer.backend.espeak.wrapper import EspeakWrapper

EspeakWrapper.set_library(espeakng_loader.get_library_path())
EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
PAIRS = [("teach", "teacher"), ("sing", "singer"), ("run", "runner"), ("ham", "hammer"), ("act", "actor")]
distance = Distance()


def said(words, language):
    return phonemize(words, language=language, backend="espeak", strip=True)


print("panphon", version("panphon"), "phonemizer", version("phonemizer"))
changed = False
for language in ("en-gb", "en-us"):
    short, long = (said(list(words), language) for words in zip(*PAIRS))
    rates = [distance.phoneme_error_rate([heard], [meant]) for heard, meant in zip(short, long)]
    features = [distance.feature_error_rate([heard], [meant]) for heard, meant in zip(short, long)]
    for heard, meant, rate, feature in zip(short, long, rates, features):
        print(f"{language}: {heard} for {meant}: {rate:.2f} of the phonemes, {feature:.2f} of the features are wrong")
    if language == "en-gb":
        assert min(rates) > 0 and min(features) > 0
    else:
        changed |= any(rates) or any(features)
[meant] = said(["the teacher needed better letters"], "en-us")
lost = [letter for letter in meant if letter.isalpha() and letter not in "".join(distance.fm.ipa_segs(meant))]
print("left out of", meant, "are", " ".join(lost))
if changed or lost != ["ɚ", "ᵻ", "ɚ", "ɚ"]:
    raise SystemExit("the vowels of American English are counted now")
PY
