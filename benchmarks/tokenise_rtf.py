"""Tokenisation's real-time factor per core: MFCC k-means, the quickstart's HuBERT, and HuBERT base at 25 Hz.

    python benchmarks/tokenise_rtf.py [--threads 1] [--seconds 10] [--batch 8] [--repeats 3]

Weights are random (speed does not depend on them). Real-time factor = computing seconds per second of audio;
batch 1 and batched, the best of `repeats`, and CPU seconds beside it, which other processes disturb less.
"""

import argparse
import time

import torch
from omegaconf import OmegaConf

from spiritlm_pl.cli.configs import config_folder
from spiritlm_pl.speech.contract import FeatureExtractor
from spiritlm_pl.speech.features import MFCCConfig
from spiritlm_pl.speech.hubert import HubertConfig, HubertFeatures, HubertNetwork
from spiritlm_pl.speech.kmeans import KMeans, KMeansConfig
from spiritlm_pl.speech.tokenizer import PhoneticTokenizer

SAMPLE_RATE = 16_000


def hubert(part: str, layer: int, normalize: bool = False) -> HubertFeatures:
    """Features of a randomly initialised HuBERT of a shipped size."""
    values = OmegaConf.to_container(OmegaConf.load(config_folder() / "parts" / "model" / f"{part}.yaml"))
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return HubertFeatures.from_network(HubertNetwork(HubertConfig(**values)), layer, normalize)


def measure(tokenizer: PhoneticTokenizer, seconds: float, batch: int, repeats: int) -> tuple[float, float]:
    """Best wall and CPU seconds per second of audio."""
    waveforms = torch.randn(batch, int(seconds * SAMPLE_RATE)) * 0.1
    lengths = torch.full((batch,), waveforms.shape[1])
    tokenizer.encode(waveforms, lengths)
    walls, processors = [], []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        tokenizer.encode(waveforms, lengths)
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return min(walls) / (batch * seconds), min(processors) / (batch * seconds)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    extractors: dict[str, tuple[FeatureExtractor, int]] = {
        "MFCC": (MFCCConfig(frame_rate=25.0).build(), 200),
        "HuBERT quickstart": (hubert("hubert_tiny", 1, normalize=True), 200),
        "HuBERT base 25 Hz": (hubert("hubert_base_25hz", 11), 500),
    }
    print(f"{options.threads} thread(s), {options.seconds:g} s utterances")
    print(f"{'':<20}{'batch':>6}{'real-time factor':>18}{'CPU s / audio s':>17}{'times real time':>17}")
    for name, (extractor, num_units) in extractors.items():
        quantizer = KMeans(KMeansConfig(num_units=num_units, feature_dim=extractor.feature_dim))
        tokenizer = PhoneticTokenizer(extractor, quantizer)
        for batch in (1, options.batch):
            wall, processor = measure(tokenizer, options.seconds, batch, options.repeats)
            print(f"{name:<20}{batch:>6}{wall:>18.4f}{processor:>17.4f}{1 / wall:>17.0f}")


if __name__ == "__main__":
    main()
