"""Real-time factor per core of the F0 extractors and of the pitch VQ-VAE.

    python benchmarks/f0_rtf.py [--threads 1] [--seconds 10] [--batch 8] [--repeats 3]

The voice is synthetic: pulses of 100 to 250 Hz through formants, with pauses. Weights of the VQ-VAE are random.
Real-time factor = computing seconds per second of audio; batch 1 and batched, the best of `repeats`, and CPU seconds
beside it, which other processes disturb less. Extractors take the utterances of a batch one by one.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torchaudio.functional import bandpass_biquad

from spiritlm_pl.f0.contour import contour
from spiritlm_pl.f0.extractors import make_extractor
from spiritlm_pl.f0.frames import SAMPLE_RATE
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAE, PitchVQVAEConfig

FORMANTS = (600.0, 1500.0, 2600.0)  # Hz


def voices(batch: int, seconds: float) -> Tensor:
    """Waveforms (B, S)."""
    time_axis = torch.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    rows = []
    for row in range(batch):
        f0 = 120 + 10 * row + 50 * torch.sin(2 * torch.pi * 0.7 * time_axis + row)
        phase = (f0 / SAMPLE_RATE).cumsum(0)
        pulses = (phase.remainder(1.0).diff(prepend=phase[:1]) < 0).float()
        voiced = (torch.sin(2 * torch.pi * 0.4 * time_axis + row) > -0.5).float()
        source = pulses * voiced + 0.005 * torch.randn(len(time_axis), generator=torch.Generator().manual_seed(row))
        wave = torch.stack([bandpass_biquad(source, SAMPLE_RATE, hertz, Q=5.0) for hertz in FORMANTS]).sum(0)
        rows.append(0.3 * wave / wave.abs().max())
    return torch.stack(rows)


def measure(function: Callable[[], object], audio_seconds: float, repeats: int) -> tuple[float, float]:
    """Best wall and CPU seconds per second of audio."""
    function()
    walls, processors = [], []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        function()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return min(walls) / audio_seconds, min(processors) / audio_seconds


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = PitchVQVAE(PitchVQVAEConfig()).eval()
    print(f"{options.threads} thread(s), {options.seconds:g} s utterances")
    print(f"{'':<16}{'batch':>6}{'real-time factor':>18}{'CPU s / audio s':>17}{'times real time':>17}")
    for batch in (1, options.batch):
        waveforms = voices(batch, options.seconds)
        lengths = torch.full((batch,), waveforms.shape[1])
        jobs: dict[str, Callable[[], object]] = {
            kind: partial(make_extractor(kind), waveforms, lengths) for kind in ("fcpe", "yin", "torchaudio", "yaapt")
        }
        jobs["pitch VQ-VAE"] = partial(network.encode, contour(*make_extractor("yin")(waveforms, lengths)))
        for name, job in jobs.items():
            wall, processor = measure(job, batch * options.seconds, options.repeats)
            print(f"{name:<16}{batch:>6}{wall:>18.5f}{processor:>17.5f}{1 / wall:>17.0f}")


if __name__ == "__main__":
    main()
