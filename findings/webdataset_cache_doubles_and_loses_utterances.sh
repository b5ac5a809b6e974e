#!/bin/sh
# webdataset 1.0.2: after the first epoch a cached dataset has every utterance once for each worker, and those of one name once.
#
# Expected: `lmdb_cached` "caches its output in an LMDB database": later epochs have the utterances that the first one had, for
#   any number of workers, as without it. The name of an utterance tells the files of a sample apart within a shard; shards
#   whose utterances are counted from 0 each are valid, and all of them are read.
# Seen: 1. With 2 workers of a DataLoader the second and all later epochs have each of 20 utterances twice, with 4 workers four
#   times; lengths, losses and learning rates by steps are those of another dataset, without a word.
#   2. Two speakers' shards with utt000 to utt005 each: the first epoch has 12 utterances, the second one 6, the first
#   speaker is gone. Names that are made different by `map` before the cache do not help: `map` gives each sample the name that
#   it had before, whatever the function returns.
# Source: webdataset/filters.py, `LMDBCached.run`: all workers write into one database by `__key__`, and each reads all of it;
#   `_map`: `result["__key__"] = sample.get("__key__")`. The first is asked about in
#   https://github.com/webdataset/webdataset/issues/445
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has all of them
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet webdataset==1.0.2 lmdb==3.0.0 numpy torch==2.13.0
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
from collections import Counter

import webdataset
from torch.utils.data import DataLoader


def speaker_and_name(sample):
    return sample | {"__key__": sample["__url__"].removesuffix(".tar") + "_" + sample["__key__"]}


def shards(count, utterances, name):
    for shard in range(count):
        with webdataset.TarWriter(f"speaker{shard}.tar") as writer:
            for i in range(utterances):
                writer.write({"__key__": name.format(shard, i), "txt": f"{shard}.{i}"})
    return [f"speaker{shard}.tar" for shard in range(count)]


def dataset(paths):
    return webdataset.WebDataset(paths, shardshuffle=False).decode()


def epochs(samples_of, workers=0):
    """Number of samples, number of different ones, and names of the last sample, of the first two epochs."""
    found = []
    for _ in range(2):
        samples = list(DataLoader(samples_of, batch_size=None, num_workers=workers))
        found.append((len(samples), len(Counter(sample["txt"] for sample in samples)), samples[-1]["__key__"]))
    return found


print("webdataset", webdataset.__version__)
paths = shards(4, 5, "s{}_{:03d}")
assert [count for count, *_ in epochs(dataset(paths), 2)] == [20, 20]
doubled = {}
for workers in (0, 2, 4):
    first, second = epochs(dataset(paths).lmdb_cached(f"cache{workers}", map_size=10**7), workers)
    doubled[workers] = second[0]
    print(f"{workers} workers: {first[0]} utterances in the first epoch, {second[0]} in the second")
    assert first[0] == second[1] == 20

paths = shards(2, 6, "utt{1:03d}")
lost = epochs(dataset(paths).lmdb_cached("same", map_size=10**7))
print(f"two shards with the same names: {lost[0][0]} utterances in the first epoch, {lost[1][0]} in the second")
renamed = epochs(dataset(paths).map(speaker_and_name).lmdb_cached("renamed", map_size=10**7))
print(f"renamed by map: {renamed[0][0]} in the first epoch, {renamed[1][0]} in the second; the last is {renamed[0][2]}")
assert lost[0][0] == 12 and doubled[0] == 20
if doubled[2] == 20 and lost[1][0] == 12:
    raise SystemExit("epochs are alike now")
if (doubled[2], doubled[4], lost[1][0], renamed[1][0]) != (40, 80, 6, 6):
    raise SystemExit("epochs differ otherwise now")
PY
