#!/bin/sh
# lhotse 1.33.0: `SimpleCutSampler` and `BucketingSampler` of two or more ranks resume at another place of the epoch than
#   where they were saved, and the ranks no longer share the cuts between them.
#
# Expected: "This will result in the sampler yielding batches from where the previous training left it off" (documentation of
#   `load_state_dict`), as with one rank, and with `DynamicCutSampler` and `DynamicBucketingSampler` of any number of ranks.
# Seen: of 240 cuts on two ranks, saved after 18 of 37 batches, a resumed `SimpleCutSampler` gives 28 more batches instead of
#   19, as it goes back to a quarter of the epoch: 58 cuts too many, 87 on four ranks. `BucketingSampler` gives 62 and 114
#   too many, and loses 1 and 9. Nothing tells; with or without shuffling.
# Why: each rank reads the batches of all ranks and keeps its own. Its state counts the cuts that it kept, and the resumed one
#   skips so many in the order of all. The numbers also differ from rank to rank, as batches are limited by duration, so that
#   the ranks start at different places.
# Source: lhotse/dataset/sampling/simple.py, `load_state_dict`: `data_source.fast_forward(current_epoch_stats.total_cuts)`;
#   lhotse/dataset/sampling/base.py, `__next__`, logs the selected batch only. `CutPairsSampler` is written alike.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet lhotse==1.33.0 urllib3 soundfile torchaudio
    python="$folder/venv/bin/python"
fi
cd "$folder"
cat > ranks.py <<'PY'
import logging
import random
import warnings
from collections import Counter

import lhotse
from lhotse import CutSet
from lhotse.dataset.sampling import BucketingSampler, DynamicBucketingSampler, DynamicCutSampler, SimpleCutSampler
from lhotse.testing.dummies import dummy_cut

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
random.seed(0)
DURATIONS = [round(random.uniform(1, 10), 2) for _ in range(240)]


def sampler(kind, rank, ranks):
    cuts = CutSet.from_cuts(dummy_cut(number, duration=duration) for number, duration in enumerate(DURATIONS))
    buckets = {"num_buckets": 3} if "Bucketing" in kind.__name__ else {}
    return kind(cuts, max_duration=30, shuffle=True, seed=1, rank=rank, world_size=ranks, **buckets)


def names(batch):
    return [cut.id for cut in batch]


def epoch(kind, ranks, stop=None):
    """Count the cuts of an epoch on all ranks, interrupted after `stop` batches, and the batches of each rank."""
    cuts, lengths = Counter(), []
    for rank in range(ranks):
        before = sampler(kind, rank, ranks)
        batches = []
        for batch in before:
            batches.append(names(batch))
            if len(batches) == stop:
                break
        if stop:
            after = sampler(kind, rank, ranks)
            after.load_state_dict(before.state_dict())
            batches += [names(batch) for batch in after]
        lengths.append(len(batches))
        cuts.update(name for batch in batches for name in batch)
    return cuts, lengths


print("lhotse", lhotse.__version__)
wrong = {}
for kind in (SimpleCutSampler, BucketingSampler, DynamicCutSampler, DynamicBucketingSampler):
    for ranks in (1, 2, 4):
        whole, lengths = epoch(kind, ranks)
        assert max(whole.values()) == 1
        stop = min(lengths) // 2
        found, resumed = epoch(kind, ranks, stop)
        lost, more = whole - found, found - whole
        wrong[kind, ranks] = lost.total() + more.total()
        print(f"{kind.__name__}, {ranks} ranks: batches {lengths}; resumed after {stop}: {resumed},", end=" ")
        print(f"{lost.total()} cuts lost, {more.total()} too many")
for kind in (DynamicCutSampler, DynamicBucketingSampler):
    assert not any(wrong[kind, ranks] for ranks in (1, 2, 4))
assert not wrong[SimpleCutSampler, 1] and not wrong[BucketingSampler, 1]
if not wrong[SimpleCutSampler, 2] or not wrong[BucketingSampler, 2]:
    raise SystemExit("samplers of two ranks resume where they were saved now")
PY
"$python" ranks.py
