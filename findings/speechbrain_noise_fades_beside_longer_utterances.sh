#!/bin/sh
# speechbrain 1.1.2: `AddNoise` with generated noise gives an utterance in a batch less noise, the longer its longest neighbour
#   is: 13 dB of signal-to-noise ratio beside one of twice its length where 10 dB were asked for, 20 dB beside one of ten times.
#
# Expected: `snr_low` and `snr_high` are the limits of "the mixing ratios, in decibels", of each utterance; `lengths`, which
#   `forward` takes, say where it ends, so that padding makes no difference. So it is if noise is read from files.
# Seen: with `snr_low=10, snr_high=10` the longest utterance of a batch has 10.0 dB; those of a half, a quarter and a tenth of
#   its length have 13, 16 and 20 dB, with white noise (the default) as with `pink_noise_like`. Nothing tells. In a corpus of
#   mixed lengths the shorter the utterance, the cleaner it is, and scores at a fixed ratio depend on the batch.
# Why: noise is drawn for the whole padded row, and its root mean square taken as its energy over the row, divided by the
#   number of samples of the utterance. So it counts as louder than it is, by the ratio of both lengths, and is scaled down.
# Source: speechbrain/augment/time_domain.py, `AddNoise.forward`: `noise_length = lengths` beside `noise_funct(waveforms)`;
#   speechbrain/processing/signal_processing.py, `compute_amplitude`.
#   https://speechbrain.readthedocs.io/en/latest/API/speechbrain.augment.time_domain.html
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has it
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet speechbrain==1.1.2 torch==2.14.1 torchaudio==2.11.0
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - 2> errors.log <<'PY' || { tail -n 1 errors.log; exit 1; }
from importlib.metadata import version

import torch
from speechbrain.augment.time_domain import AddNoise, pink_noise_like

SHARES, ASKED = (1.0, 0.5, 0.25, 0.1), 10
torch.manual_seed(0)


def ratios(waveforms, shares, **noise):
    """Signal-to-noise ratio of each utterance, in dB, within its own length."""
    mixed = AddNoise(snr_low=ASKED, snr_high=ASKED, **noise)(waveforms, torch.tensor(shares))
    kept = 1 - 1 / (10 ** (ASKED / 20) + 1)  # the signal is turned down so that the sum is about as loud as before
    result = []
    for speech, mixture, share in zip(waveforms * kept, mixed, shares):
        end = round(share * len(speech))
        noise = mixture[:end] - speech[:end]
        result.append(10 * torch.log10(speech[:end].square().mean() / noise.square().mean()).item())
    return result


batch = torch.zeros(len(SHARES), 160_000)
for row, share in zip(batch, SHARES):
    row[: round(share * 160_000)] = 0.1 * torch.randn(round(share * 160_000))
print("speechbrain", version("speechbrain"))
alone = ratios(batch[-1:, :16_000], [1.0])
print("alone:", f"{alone[0]:.1f} dB")
assert abs(alone[0] - ASKED) < 0.1
changed = False
for name, noise in (("white", {}), ("pink", {"noise_funct": pink_noise_like})):
    found = ratios(batch, SHARES, **noise)
    print(f"{name}:", ", ".join(f"{ratio:.1f} dB at {share} of the longest" for ratio, share in zip(found, SHARES)))
    assert abs(found[0] - ASKED) < 0.1
    changed |= not (found[1] > 12 and found[2] > 15 and found[3] > 18)
if changed:
    raise SystemExit("short utterances have the ratio that was asked for now")
PY
