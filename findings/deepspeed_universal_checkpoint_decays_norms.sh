#!/bin/sh
# deepspeed 0.19.8: a universal checkpoint of ZeRO-3 comes back with the first parameter group's settings in all groups,
#   one `step` tensor for all of them, and without frozen weights.
#
# Expected: parameter groups as they were saved (weight decay 0.1 and 0.0), step 2 and then 3 after one more step, and
#   frozen weights of the checkpoint, as `load_checkpoint` without "load_universal" restores them.
# Seen: weight decay 0.1 in both groups, so that norms and biases decay from then on; two groups advance one tensor, so
#   that Adam's bias correction is that of step 4; the frozen weights are those with which the model was built.
# Source: deepspeed/runtime/zero/stage3.py, `load_hp_checkpoint_state_from_checkpoint_dir_stage3`: reads
#   `optim_sd["param_groups"][0]` for every group and puts one `state_step` into every state; it walks `fp16_groups`,
#   which hold the trained parameters only, and engine.py leaves out `load_module_state_dict` for universal checkpoints.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has both
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet deepspeed==0.19.8 torch
    python="$folder/venv/bin/python"
fi
cd "$folder"
cat > train.py <<'PY'
import sys

import deepspeed
import torch

config = {
    "train_micro_batch_size_per_gpu": 1,
    "zero_optimization": {"stage": 3},
    "zero_allow_untested_optimizer": True,
    "checkpoint": {"load_universal": sys.argv[1] == "load"},
}


def engine():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 4))
    for parameter in model[2].parameters():
        parameter.requires_grad_(False)
    groups = [
        {"params": list(model[0].parameters()), "weight_decay": 0.1},
        {"params": list(model[1].parameters()), "weight_decay": 0.0},
    ]
    return deepspeed.initialize(model=model, optimizer=torch.optim.AdamW(groups, lr=1e-3), config=config)[0]


def step(made):
    made.backward(made(torch.ones(1, 4)).square().sum())
    made.step()


def show(word, made):
    adamw = made.optimizer.optimizer
    decay = [group["weight_decay"] for group in adamw.param_groups]
    steps = [int(state["step"]) for state in adamw.state.values()]
    with deepspeed.zero.GatheredParameters(list(made.module[2].parameters())):
        frozen = round(float(made.module[2].bias[0]), 4)
    print(f"{word}: weight decay {decay}, steps {steps}, frozen weight {frozen}", flush=True)
    return decay, steps, frozen


deepspeed.init_distributed("gloo")
made = engine()
if sys.argv[1] == "save":
    with deepspeed.zero.GatheredParameters([made.module[2].bias], modifier_rank=0):
        made.module[2].bias.data.fill_(7.0)
    step(made), step(made)
    assert show("saved", made) == ([0.1, 0.0], [2, 2], 7.0)
    made.save_checkpoint("run", tag="shards")
else:
    made.load_checkpoint("run")
    found = show("loaded", made)
    step(made)
    later = show("after one more step", made)
    assert found[0] == [0.1, 0.1] and found[2] != 7.0 and later[1] == [4, 4], "it is repaired now"
PY
export DS_ACCELERATOR=cpu MASTER_ADDR=127.0.0.1 MASTER_PORT=29655 RANK=0 LOCAL_RANK=0 WORLD_SIZE=1
"$python" train.py save 2>&1 | grep saved
"$python" -m deepspeed.checkpoint.ds_to_universal --input_folder run/shards --output_folder run/whole > convert.log 2>&1
"$python" train.py load 2>&1 | grep -e loaded: -e "one more" -e Error
