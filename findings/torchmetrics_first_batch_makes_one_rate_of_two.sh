#!/bin/sh
# torchmetrics 1.9.0: `MetricCollection` of word error rate and match error rate reports the one for the other, if no hypothesis
#   of the first batch is longer than its reference.
#
# Expected: a collection gives what its metrics give alone, whatever the order of batches. "All metrics in a compute group share
#   the same metric state and are therefore only different in their compute step."
# Seen: the same two batches of recognised speech, one of them with a repetition as recognisers make them, have a word error
#   rate of 1.17 or, in the other order, of 0.58, which is the match error rate; in a list that begins with the word error
#   rate, the match error rate is 1.17, though it cannot be above 1. Nothing tells. The wrong group stays after `reset`, for
#   all epochs. With `compute_groups=False`, or where the collection is called rather than updated, both are right.
#   Signal-to-noise ratios with and without `zero_mean` are exchanged likewise, if the first batch has a mean of 0.
# Why: metrics whose states have the same names and, after one batch, the same values are taken for one, and from then on only
#   the first is updated. Both have `errors` and `total`: words of references for the one, words of the longer side for the other.
# Source: torchmetrics/collections.py, `_merge_compute_groups` and `_equal_metric_states`; the same with other metrics:
#   https://github.com/Lightning-AI/torchmetrics/issues/2916
#   https://lightning.ai/docs/torchmetrics/stable/pages/overview.html#metriccollection
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet torchmetrics==1.9.0 torch==2.14.1
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
import torch
import torchmetrics
from torchmetrics import MetricCollection
from torchmetrics.audio import SignalNoiseRatio
from torchmetrics.text import MatchErrorRate, WordErrorRate

plain = ["we saw ship"], ["we saw the ship"]  # heard and meant
repeated = ["thank you thank you thank you thank you"], ["thank you"]


def values(metrics, batches, **options):
    collection = MetricCollection(metrics, **options)
    for _ in range(2):  # epochs
        collection.reset()
        for heard, meant in batches:
            collection.update(heard, meant)
    return {name: round(value.item(), 2) for name, value in collection.compute().items()}


def rates(batches, **options):
    return values({"wer": WordErrorRate(), "mer": MatchErrorRate()}, batches, **options)


def ratios(batches, **options):
    return values({"snr": SignalNoiseRatio(), "zero_mean": SignalNoiseRatio(zero_mean=True)}, batches, **options)


print("torchmetrics", torchmetrics.__version__)
alone, longer_first = rates([plain, repeated], compute_groups=False), rates([repeated, plain])
shorter_first = rates([plain, repeated])
listed = values([WordErrorRate(), MatchErrorRate()], [plain, repeated])
print(f"alone {alone}, longer hypothesis first {longer_first}, last {shorter_first}, as a list {listed}")
tone = torch.sin(torch.arange(16_000) * 2 * torch.pi / 100)[None]
batches = [(1.1 * tone, tone), (0.9 * tone + 0.5, tone)]
right, offset_last = ratios(batches[::-1]), ratios(batches)
print(f"offset in the first batch {right}, in the second {offset_last}")
assert alone == longer_first and alone["mer"] < 0.6 and alone["wer"] > 1 and right["snr"] != right["zero_mean"]
if any(len(set(found.values())) > 1 for found in (shorter_first, listed, offset_last)):
    raise SystemExit("metrics of a collection are what they are alone now")
PY
