#!/bin/sh
# transformers 5.24.0: `Wav2Vec2ConformerModel` and `Data2VecAudioModel` hear the padding of a batch although the
#   attention mask tells them where it is, so that features and units of an utterance depend on its neighbours.
#
# Expected: of models with layer normalisation in their front end, as these, "`attention_mask` should be passed for
#   batched inference"; an utterance then has the same features alone and in a batch, as in Wav2Vec2, HuBERT and WavLM,
#   to within rounding.
# Seen: in a batch with one of 2 s, the frames of an utterance of 1 s differ from those that it has alone: in models
#   with random weights by up to 1.3 and 1.5 times what frames differ from their mean, most at the end, a little in the
#   first. 0.04 s of padding are enough. k-means on such features gives other units in another batch, and evaluation one
#   by one has other features than training in batches. Nothing tells.
# Why: what is padding is set to 0 before the first layer only. The convolutions of later conformer layers, and of all
#   but the first of Data2Vec's five positional layers, read what the layers before made of it; Wav2Vec2-BERT masks its
#   convolutions.
# Source: transformers/models/wav2vec2_conformer/modeling_wav2vec2_conformer.py, `Wav2Vec2ConformerConvolutionModule`,
#   and data2vec/modeling_data2vec_audio.py, `Data2VecAudioPositionalConvEmbedding`, have no mask; of Data2Vec
#   https://github.com/huggingface/transformers/issues/25621
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has both
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import torch
import transformers
from transformers import AutoConfig, AutoModel

print("transformers", transformers.__version__, "torch", torch.__version__)
torch.set_num_threads(1)
SECOND = 16_000
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "feat_extract_norm": "layer",  # as all models that take a mask; the other norm is known to hear padding
    "do_stable_layer_norm": True,
}
torch.manual_seed(0)
speech, other = torch.randn(SECOND), torch.randn(2 * SECOND)


def difference(name, batch, lengths):
    """Compare the speech in a batch with itself alone: the size of the difference of each frame, by that of frames."""
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(name, **SMALL)).eval()
    mask = torch.arange(batch.shape[1]) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        alone = model(speech[None], attention_mask=torch.ones(1, SECOND, dtype=torch.long)).last_hidden_state[0]
        beside = model(batch, attention_mask=mask.long()).last_hidden_state[0, : len(alone)]
    spread = (alone - alone.mean(0)).square().sum(1).mean().sqrt()
    return ((beside - alone).square().sum(1).sqrt() / spread).tolist()


padded = torch.nn.functional.pad(speech, (0, SECOND))
wrong = {}
for name in ("wav2vec2", "hubert", "wavlm", "wav2vec2-conformer", "data2vec-audio"):
    parts = difference(name, torch.stack([padded, other]), [SECOND, 2 * SECOND])
    short = difference(name, padded[None, : SECOND + 640], [SECOND])
    wrong[name] = max(parts)
    told = f"up to {max(parts):.1e} of their spread, {parts[0]:.1e} in the first, {parts[-1]:.1e} in the last"
    print(f"{name}: frames differ by {told}; by {max(short):.1e} with 0.04 s of padding")
assert max(wrong.pop(name) for name in ("wav2vec2", "hubert", "wavlm")) < 1e-4, "the measurement is wrong"
if min(wrong.values()) < 0.1:
    raise SystemExit("padding is not heard now")
PY
