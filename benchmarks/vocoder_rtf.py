"""How many times faster than real time the two generators speak, and what a training step of each costs.

    python benchmarks/vocoder_rtf.py [--threads 2] [--seconds 10] [--repeats 3] [--no-training]

Real-time factor = computing seconds per second of audio (smaller is better); the best of `repeats` is shown, and
CPU seconds beside it, which other processes on the machine disturb less.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from spiritlm_pl.vocoder.hifigan import HiFiGANConfig, HiFiGANVocoder
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder
from spiritlm_pl.vocoder.mel import MelLoss
from spiritlm_pl.vocoder.vocoder import Vocoder

FRAME_RATE = 25


def best(action: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least wall seconds and least CPU seconds of some runs, after one to warm up."""
    action()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-training", dest="training", action="store_false")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    networks: dict[str, Vocoder] = {
        "inverse STFT (quickstart)": InverseSTFTVocoder(InverseSTFTConfig(num_units=200)),
        "HiFi-GAN V1 (published)": HiFiGANVocoder(HiFiGANConfig()),
    }
    mel_loss = MelLoss()
    frames = round(options.seconds * FRAME_RATE)
    print(f"{options.threads} threads, {options.seconds:g} s of audio, torch {torch.__version__}, float32")
    print(f"{'generator':<27}{'parameters':>12}{'RTF wall':>10}{'RTF CPU':>10}{'x real time':>13}"
          f"{'train step wall / CPU':>24}")  # fmt: skip
    for name, network in networks.items():
        units, speakers = torch.randint(0, network.config.num_units, (1, frames)), torch.zeros(1, dtype=torch.long)

        def speak(network: Vocoder = network, units: Tensor = units, speakers: Tensor = speakers) -> None:
            with torch.inference_mode():
                network.eval()(units, speakers)

        wall, cpu = best(speak, options.repeats)
        step = "-"
        if options.training:
            batch = torch.randint(0, network.config.num_units, (4, 32))
            real = 0.1 * torch.randn(4, 32 * network.hop_length)

            def train(network: Vocoder = network, batch: Tensor = batch, real: Tensor = real) -> None:
                mel_loss(network.train()(batch, torch.zeros(4, dtype=torch.long)), real).backward()

            seconds = 4 * 32 / FRAME_RATE
            train_wall, train_cpu = best(train, options.repeats)
            step = f"{train_wall / seconds:.3f} / {train_cpu / seconds:.3f}"
        size = sum(p.numel() for p in network.parameters())
        print(f"{name:<27}{size / 1e6:>10.1f} M{wall / options.seconds:>10.4f}{cpu / options.seconds:>10.4f}"
              f"{options.seconds / wall:>13.1f}{step:>24}")  # fmt: skip
    print("training: computing seconds per second of audio, forward and backward with the mel loss, no discriminators")


if __name__ == "__main__":
    main()
