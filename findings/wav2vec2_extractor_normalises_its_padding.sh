#!/bin/sh
# transformers 5.24.0: `Wav2Vec2FeatureExtractor` without an attention mask, its default, normalises speech together with its
#   padding, so that what a model hears of an utterance depends on the length of its neighbour in the batch.
#
# Expected: each utterance has mean 0 and variance 1 ("Every array in the list is normalized to have zero mean and unit
#   variance"), then zeros, as the documentation says of models like wav2vec2-base that are trained without a mask:
#   "`input_values` should simply be padded with 0".
# Seen: in a batch with an utterance of 8 s, one of 1 s has a variance of 7.7 instead of 1; with an offset of the microphone
#   its mean is 0.5, and its padding is not 0 but -0.07, with a step where speech ends. Alone, or with
#   `return_attention_mask=True`, it is as expected.
# Source: transformers/models/wav2vec2/feature_extraction_wav2vec2.py, `__call__` pads first; `zero_mean_unit_var_norm` takes
#   lengths from the attention mask, and without one the mean and variance of the padded array. Repaired for extractors that
#   return a mask only: https://github.com/huggingface/transformers/pull/13512
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet transformers==5.24.0
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import numpy as np
import transformers
from transformers import Wav2Vec2FeatureExtractor

print("transformers", transformers.__version__)
RATE = 16_000
noise = np.random.default_rng(0)
short, long = (0.1 * noise.standard_normal(seconds * RATE).astype(np.float32) + 0.02 for seconds in (1, 8))


def heard(**options):
    """The short utterance and its padding in a batch with the long one."""
    extractor = Wav2Vec2FeatureExtractor(**options)
    values = extractor([short, long], sampling_rate=RATE, padding=True, return_tensors="np")["input_values"][0]
    return values[: len(short)], values[len(short) :]


found = {}
for name, options in (("with a mask", {"return_attention_mask": True}), ("by default", {})):
    speech, padding = heard(**options)
    found[name] = speech.var()
    told = f"padding from {padding.min():.2f} to {padding.max():.2f}"
    print(f"{name}: mean {speech.mean():.2f}, variance {speech.var():.2f}, {told}")
alone = Wav2Vec2FeatureExtractor()(short, sampling_rate=RATE, return_tensors="np")["input_values"][0]
print(f"alone: mean {alone.mean():.2f}, variance {alone.var():.2f}")
assert abs(found["with a mask"] - 1) < 0.01 and abs(alone.var() - 1) < 0.01
if abs(found["by default"] - 1) < 0.01:
    raise SystemExit("the padding is left out now")
PY
