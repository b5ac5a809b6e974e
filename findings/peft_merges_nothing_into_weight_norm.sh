#!/bin/sh
# peft 0.21.2: an adapter (LoRA) of layers with weight normalisation, as codecs and vocoders have, is gone after
#   `merge_and_unload`; what comes out is the base model.
#
# Expected: "This method merges the adapter layers into the base model. This is needed if someone wants to use the base model as
#   a standalone model." Where it cannot, an error or a warning, as there is for convolutions in groups.
# Seen: convolutions of transformers' EncodecModel, whose configuration has weight normalisation by default, are adapted; the
#   adapter changes the sound, and after `merge_and_unload` the sound is that of the base model, to the last bit. Nothing
#   tells, also with `safe_merge=True`. The same model without normalisation is merged to within rounding. `merge_adapter` does
#   the same, so that a model that is merged for speed no longer has its adapter until it is unmerged.
# Why: the weight of a parametrized layer is computed anew at each access. What is added to the `data` of this result is
#   thrown away with it; the parameters, direction and length, stay as they are.
# Source: peft/tuners/lora/layer.py, `merge` of `Linear` and `_ConvNd`: `base_layer.weight.data += delta_weight`;
#   https://huggingface.co/docs/peft/package_reference/lora and
#   https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.parametrizations.weight_norm.html
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has all three
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet peft==0.21.2 transformers==5.24.0 torch==2.14.1
    python="$folder/venv/bin/python"
fi
cd "$folder"
cat > merge.py <<'PY'
import copy
import warnings

import peft
import torch
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations
from transformers import EncodecConfig, EncodecModel

warnings.simplefilter("ignore")
warnings.simplefilter("error", UserWarning)  # none comes
config = EncodecConfig(num_filters=4, hidden_size=8, codebook_dim=8, codebook_size=16, upsampling_ratios=[4, 2])
models = []
for _ in range(2):
    torch.manual_seed(0)
    models.append(EncodecModel(config).eval())
normalised, plain = models
for layer in plain.modules():
    if is_parametrized(layer):
        remove_parametrizations(layer, "weight")
frames = torch.randn(1, 8, 50)


@torch.no_grad()
def differences(model, merge):
    """Largest difference of the merged model's sound from that of the adapted and that of the base model."""
    model = copy.deepcopy(model)
    layers = [name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Conv1d) and "decoder" in name]
    base = model.decoder(frames)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=layers, init_lora_weights=False)).eval()
    wanted = adapted.base_model.model.decoder(frames)
    found = merge(adapted).decoder(frames)
    return (found - wanted).abs().max().item(), (found - base).abs().max().item()


def merge_adapter(model):
    model.merge_adapter()
    return model.base_model.model


print("peft", peft.__version__)
ways = {
    "merge_and_unload": lambda model: model.merge_and_unload(),
    "with safe_merge": lambda model: model.merge_and_unload(safe_merge=True),
    "merge_adapter": merge_adapter,
}
changed = False
for name, way in ways.items():
    right, lost = differences(plain, way), differences(normalised, way)
    for kind, (adapter, base) in (("plain", right), ("weight norm", lost)):
        print(f"{name}, {kind}: differs by {adapter:.1e} from the adapted model, by {base:.1e} from the base model")
    assert right[0] < 1e-5 and right[1] > 0.01
    changed |= not (lost[0] > 0.01 and lost[1] == 0)
if changed:
    raise SystemExit("an adapter is merged into layers with weight normalisation now")
PY
"$python" merge.py
