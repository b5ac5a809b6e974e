"""Tokenisation's real-time factor per core: units by MFCC and HuBERT, pitch codes, style codes.

    python benchmarks/tokenise_rtf.py [--threads 1] [--seconds 10] [--batch 8] [--repeats 3]

Weights are random (speed does not depend on them). Real-time factor = computing seconds per second of audio;
batch 1 and batched, the best of `repeats`, and CPU seconds beside it, which other processes disturb less.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from omegaconf import OmegaConf
from torch import Tensor

from spiritlm_pl.cli.configs import config_folder
from spiritlm_pl.contracts.speech_tokenizer import FeatureExtractor
from spiritlm_pl.tokenizers.encoders import TransformersEncoder, TransformersEncoderConfig
from spiritlm_pl.tokenizers.features import MFCCConfig
from spiritlm_pl.tokenizers.hubert import HubertConfig, HubertFeatures, HubertNetwork
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.mlp_quantizer import LinearQuantizer, LinearQuantizerConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.tokenizers.pitch_tokenizer import PitchTokenizer
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAE, PitchVQVAEConfig
from spiritlm_pl.tokenizers.style import StyleEncoder

SAMPLE_RATE = 16_000
Encode: TypeAlias = Callable[[Tensor, Tensor], object]


def hubert(part: str, layer: int, normalize: bool = False) -> HubertFeatures:
    """Features of a randomly initialised HuBERT of a shipped size."""
    values = OmegaConf.to_container(OmegaConf.load(config_folder() / "parts" / "model" / f"{part}.yaml"))
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return HubertFeatures.from_network(HubertNetwork(HubertConfig(**values)), layer, normalize)


def phonetic(extractor: FeatureExtractor, num_units: int) -> Encode:
    """Units by k-means."""
    quantizer = KMeans(KMeansConfig(num_units=num_units, feature_dim=extractor.feature_dim))
    return PhoneticTokenizer(extractor, quantizer).encode


def style(encoder: torch.nn.Module, projection_dim: int, num_styles: int) -> Encode:
    """Style codes by an encoder with a classifier."""
    features: Any = StyleEncoder.on(encoder.eval(), projection_dim=projection_dim, normalize=False).eval()
    quantizer = LinearQuantizer(LinearQuantizerConfig(num_units=num_styles, feature_dim=projection_dim))
    return PhoneticTokenizer(features, quantizer).encode


def wav2vec2_base() -> TransformersEncoder:
    """The release's style encoder."""
    model = {"model_type": "wav2vec2"}  # the defaults are the base size
    return TransformersEncoder(TransformersEncoderConfig(model=model))


def pitch(f0: str) -> Encode:
    """Pitch codes of the published size."""
    tokenizer = PitchTokenizer(PitchVQVAE(PitchVQVAEConfig()), f0)

    def encode(waveforms: Tensor, lengths: Tensor) -> object:
        return tokenizer.encode(*tokenizer.extract(waveforms, lengths), lengths)

    return encode


def measure(encode: Encode, seconds: float, batch: int, repeats: int) -> tuple[float, float]:
    """Best wall and CPU seconds per second of audio."""
    waveforms = torch.randn(batch, int(seconds * SAMPLE_RATE)) * 0.1
    lengths = torch.full((batch,), waveforms.shape[1])
    encode(waveforms, lengths)
    walls, processors = [], []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        encode(waveforms, lengths)
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
    encoders: dict[str, Encode] = {
        "units: MFCC": phonetic(MFCCConfig(frame_rate=25.0).build(), 200),
        "units: HuBERT quickstart": phonetic(hubert("hubert_tiny", 4, normalize=True), 200),
        "units: HuBERT base 25 Hz": phonetic(hubert("hubert_base_25hz", 11), 500),
        "pitch: FCPE, VQ-VAE": pitch("fcpe"),
        "pitch: YIN, VQ-VAE": pitch("yin"),
        "style: HuBERT quickstart": style(hubert("hubert_tiny", 2), 64, 50),
        "style: wav2vec 2.0 base": style(wav2vec2_base(), 256, 100),
    }
    print(f"{options.threads} thread(s), {options.seconds:g} s utterances")
    print(f"{'':<26}{'batch':>6}{'real-time factor':>18}{'CPU s / audio s':>17}{'times real time':>17}")
    for name, encode in encoders.items():
        for batch in (1, options.batch):
            wall, processor = measure(encode, options.seconds, batch, options.repeats)
            print(f"{name:<26}{batch:>6}{wall:>18.4f}{processor:>17.4f}{1 / wall:>17.0f}")


if __name__ == "__main__":
    main()
