#!/bin/sh
# mosaicml-streaming 0.13.0: with batches of utterances of different lengths a resumed run loses some or has some twice.
#
# Expected: `StreamingDataLoader` "tracks the number of samples seen by the model this rank" for its checkpoints: after
#   `state_dict` and `load_state_dict` the rest of the epoch comes, every utterance once, whatever `collate_fn` makes of them.
# Seen: after 3 batches of 8 of 64 utterances: of waveforms that are joined to one tensor, as attention over variable lengths takes
#   them, the state says sample 61, and 37 utterances are never seen in this epoch (longer ones give an error about resuming
#   too far). Batches that are lists of samples (dictionaries with 3 entries) and padded waveforms of shape (time, batch), as
#   `pad_sequence` makes them, say sample 9, so that 15 utterances are trained on twice. Only where the first entry has the
#   batch first is the number right (24).
# Source: streaming/base/dataloader.py, `_get_batch_size`: the length of the first entry of a dictionary, of a tensor, or of the
#   first element of a list.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has both
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet mosaicml-streaming==0.13.0 torch==2.14.1
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import numpy as np
import streaming
import torch
from streaming.base.util import clean_stale_shared_memory
from torch.nn.utils.rnn import pad_sequence

UTTERANCES, BATCH, SEEN = 64, 8, 3
clean_stale_shared_memory()
random = np.random.default_rng(0)
columns = {"id": "int", "audio": "ndarray:float32", "text": "str"}
with streaming.MDSWriter(out="corpus", columns=columns) as writer:
    for i in range(UTTERANCES):  # of two or three frames, so that the wrong numbers stay within the epoch
        audio = random.standard_normal(random.integers(2, 4)).astype(np.float32)
        writer.write({"id": i, "audio": audio, "text": "one"})


def waveforms(samples):
    return [torch.tensor(sample["audio"]) for sample in samples]


def numbers(samples):
    return torch.tensor([sample["id"] for sample in samples])


COLLATE = {
    "batch first": lambda samples: {"audio": pad_sequence(waveforms(samples), batch_first=True), "id": numbers(samples)},
    "joined": lambda samples: {"audio": torch.cat(waveforms(samples)), "id": numbers(samples)},
    "list of samples": lambda samples: samples,
    "time first": lambda samples: {"audio": pad_sequence(waveforms(samples)), "id": numbers(samples)},
}


def loader(collate):
    clean_stale_shared_memory()  # of the loader before
    dataset = streaming.StreamingDataset(local="corpus", batch_size=BATCH, shuffle=False, num_canonical_nodes=1)
    return streaming.StreamingDataLoader(dataset, batch_size=BATCH, collate_fn=collate)


def ids(batch):
    return [sample["id"] for sample in batch] if isinstance(batch, list) else batch["id"].tolist()


print("mosaicml-streaming", streaming.__version__)
found = {}
for name, collate in COLLATE.items():
    interrupted = loader(collate)
    batches = iter(interrupted)
    before = [i for _ in range(SEEN) for i in ids(next(batches))]
    state = interrupted.state_dict()
    del batches, interrupted
    resumed = loader(collate)
    resumed.load_state_dict(state)
    after = [i for batch in resumed for i in ids(batch)]
    lost = UTTERANCES - len({*before, *after})
    twice = len(before) + len(after) - len({*before, *after})
    found[name] = (state["sample_in_epoch"], lost, twice)
    print(f"{name}: {len(before)} utterances seen, the state says {found[name][0]}; {lost} lost, {twice} seen twice")
    del resumed
assert found.pop("batch first") == (SEEN * BATCH, 0, 0)
if all(number == (SEEN * BATCH, 0, 0) for number in found.values()):
    raise SystemExit("all batches are counted rightly now")
if not (found["joined"][1] == 37 and found["list of samples"][2] == found["time first"][2] == 15):
    raise SystemExit("batches are counted otherwise now")
PY
