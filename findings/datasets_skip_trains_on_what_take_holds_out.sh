#!/bin/sh
# datasets 5.2.0: with workers or several ranks, training on `stream.skip(n)` sees most of what `stream.take(n)` held out for
#   validation, and never sees as many others.
#
# Expected: `skip` "omits the first `n` examples in a dataset and returns the remaining examples", which the documentation shows
#   as a way to split a stream into two, with `take` for "the first `n` examples". So nothing is in both, however it is read.
# Seen: of 4 files of 100 examples, the first 40 are held out. A DataLoader of 4 workers trains on 30 of these and leaves out 30
#   that were never held out; of 2 workers, or on 2 ranks by `split_dataset_by_node`, on 20 and without 20. The number of
#   examples, 360, is right, and nothing tells. Only if the validation is read by as many workers and ranks as the training
#   are the two parts disjoint, and then it is another set with each number of them.
# Why: where a dataset is sharded, `skip(n)` becomes `skip(n / shards)` at the beginning of each shard's own files, so that the
#   number comes out right, but not the examples.
# Source: datasets/iterable_dataset.py, `SkipExamplesIterable.shard_data_sources` (`split_when_sharding`); decided in
#   https://github.com/huggingface/datasets/pull/6965; https://huggingface.co/docs/datasets/stream#split-dataset
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has both
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet datasets==5.2.0 torch==2.14.1 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
export HF_HOME="$folder/cache" HF_HUB_OFFLINE=1
cat > split.py <<'PY'
import json
import warnings
from pathlib import Path

import datasets
from datasets import load_dataset
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

warnings.filterwarnings("ignore")
datasets.disable_progress_bars()
HELD_OUT = 40
for shard in range(4):
    lines = [json.dumps({"number": number}) + "\n" for number in range(100 * shard, 100 * shard + 100)]
    Path(f"{shard}.jsonl").write_text("".join(lines))
stream = load_dataset("json", data_files=[f"{shard}.jsonl" for shard in range(4)], split="train", streaming=True)
held_out = {example["number"] for example in stream.take(HELD_OUT)}
training = stream.skip(HELD_OUT)


def numbers(dataset, workers):
    return [example["number"] for example in DataLoader(dataset, batch_size=None, num_workers=workers)]


def compare(name, trained):
    leaked, lost = len(held_out & set(trained)), len(set(range(400)) - held_out - set(trained))
    print(f"{name}: {len(trained)} examples, {leaked} of the {HELD_OUT} held out among them, {lost} others missing")
    return leaked, lost


print("datasets", datasets.__version__)
one = compare("no workers", numbers(training, 0))
two = compare("2 workers", numbers(training, 2))
four = compare("4 workers", numbers(training, 4))
ranks = [numbers(split_dataset_by_node(training, rank, 2), 0) for rank in range(2)]
nodes = compare("2 ranks", ranks[0] + ranks[1])
assert one == (0, 0)
if (two, four, nodes) != ((20, 20), (30, 30), (20, 20)):
    raise SystemExit("training and held-out examples of a stream differ otherwise now")
PY
"$python" split.py
