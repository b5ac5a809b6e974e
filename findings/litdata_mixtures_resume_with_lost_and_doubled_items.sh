#!/bin/sh
# litdata 0.2.76: a mixture of data sets (`CombinedStreamingDataset`) that resumes with two or more workers loses items and
#   gives others twice.
#
# Expected: `StreamingDataLoader.state_dict` and `load_state_dict` go on after the last batch ("resume from where you left
#   off"), as they do for one `StreamingDataset`, and for a mixture with one worker or none.
# Seen: of two sets of 400 items, such as speech and text, in batches of 8, two workers never give 2 and 4 items when they
#   resume after 20 and 40 batches, and give as many twice, without a word; four workers 6 to 12. The number of items
#   is right, so nothing shows. Each interruption does it anew.
# Why: the state counts how many items of each set were given by all workers together, and the set shares this number
#   among its workers as if each had taken whole batches of it in turn. In a mixture a batch of 8 has 3 of one set and 5 of the
#   other, and each worker draws other numbers. The true numbers of each worker are in the state
#   (`num_samples_yielded`), but only the draws are replayed from them.
# Source: litdata/streaming/dataloader.py, `state_dict` adds up over workers; litdata/streaming/dataset.py, `_replay_sampling`
#   shares by `batch_size`. Related upstream, of errors at resuming: litData issues 331 and 363.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet litdata==0.2.76 torch
    python="$folder/venv/bin/python"
fi
cd "$folder"
cat > mixture.py <<'PY'
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from litdata import CombinedStreamingDataset, StreamingDataLoader, StreamingDataset
from litdata.streaming.writer import BinaryWriter

warnings.filterwarnings("ignore")
ITEMS = 400


def write(folder, first):
    """Write a data set of items with the numbers first, first + 1, ..."""
    Path(folder).mkdir()
    writer = BinaryWriter(folder, chunk_size=20)
    for item in range(ITEMS):
        writer[item] = {"number": first + item}
    writer.done()
    writer.merge()


def loader(workers, mixed):
    speech = StreamingDataset("speech", shuffle=True, seed=1)
    if not mixed:
        return StreamingDataLoader(speech, batch_size=8, num_workers=workers)
    text = StreamingDataset("text", shuffle=True, seed=2)
    return StreamingDataLoader(
        CombinedStreamingDataset([speech, text], seed=3, iterate_over_all=True), batch_size=8, num_workers=workers
    )


def numbers(batch):
    return batch["number"].tolist()


def interrupted(workers, mixed, stop):
    """Numbers of an epoch that is saved after `stop` batches and resumed by a new loader."""
    before, seen, state = loader(workers, mixed), [], None
    for place, batch in enumerate(before, 1):
        seen += numbers(batch)
        if place == stop:
            state = before.state_dict()
            break
    after = loader(workers, mixed)
    after.load_state_dict(state)
    return Counter(seen + [number for batch in after for number in numbers(batch)])


if __name__ == "__main__":
    print("litdata", version("litdata"))
    write("speech", 0)
    write("text", 1000)
    wrong = Counter()
    for mixed, workers in ((False, 2), (True, 1), (True, 2), (True, 4)):
        whole = Counter(number for batch in loader(workers, mixed) for number in numbers(batch))
        assert sorted(whole.elements()) == [*range(ITEMS), *(range(1000, 1000 + ITEMS) if mixed else ())]
        for stop in (20, 40, 60) if mixed else (20, 40):
            counts = interrupted(workers, mixed, stop)
            lost, twice = whole - counts, counts - whole
            wrong[mixed, workers] += lost.total() + twice.total()
            name = "mixture" if mixed else "one set"
            print(f"{name}, {workers} workers, resumed after {stop} batches: {counts.total()} items,", end=" ")
            print(f"lost {sorted(lost)}, twice {sorted(twice)}")
    assert not wrong[False, 2] and not wrong[True, 1]
    if not wrong[True, 2]:
        raise SystemExit("a mixture resumes with every item once now")
PY
"$python" mixture.py 2> errors.log || { tail -n 1 errors.log; exit 1; }
