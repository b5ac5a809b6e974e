"""Tokenisation's real-time factor per core: units by MFCC and HuBERT, pitch codes, style codes.

    python benchmarks/tokenise_rtf.py [--threads 1] [--seconds 10] [--batch 8] [--repeats 3] [--beside]

Weights are random (speed does not depend on them). Real-time factor = computing seconds per second of audio;
batch 1 and batched, the best of `repeats`, and CPU seconds beside it, which other processes disturb less.
`--beside` compares HuBERT base at 25 Hz with the same network in `transformers` instead: medians of CPU seconds (of
seconds with several threads) of one utterance at a time, in turns.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn.functional import pad
from transformers import HubertConfig as TransformersHubertConfig
from transformers import HubertModel

from spiritlm_pl.cli.configs import config_folder
from spiritlm_pl.contracts.speech_tokenizer import FeatureExtractor
from spiritlm_pl.runtime.inference import prepare
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
    """Units by k-means, prepared as commands prepare it."""
    quantizer = KMeans(KMeansConfig(num_units=num_units, feature_dim=extractor.feature_dim))
    return prepared(PhoneticTokenizer(extractor, quantizer))


def prepared(tokenizer: PhoneticTokenizer) -> Encode:
    """Prepare a tokenizer for inference."""
    prepare(tokenizer, "cpu")
    return tokenizer.encode


def style(encoder: torch.nn.Module, projection_dim: int, num_styles: int) -> Encode:
    """Style codes by an encoder with a classifier."""
    features: Any = StyleEncoder.on(encoder.eval(), projection_dim=projection_dim, normalize=False).eval()
    quantizer = LinearQuantizer(LinearQuantizerConfig(num_units=num_styles, feature_dim=projection_dim))
    return prepared(PhoneticTokenizer(features, quantizer))


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


def same_in_transformers(features: HubertFeatures) -> Any:
    """The network of features of the published layout, as one of `transformers` with the same weights."""
    config, weights = features.config, features.encoder.state_dict()
    network = HubertModel(
        TransformersHubertConfig(
            conv_dim=(config.channels,) * len(config.kernels),
            conv_kernel=config.kernels,
            conv_stride=config.strides,
            num_feat_extract_layers=len(config.kernels),
            num_hidden_layers=config.layer,
            mask_time_prob=0.0,
        )
    )
    names = {name: name.removeprefix("encoder.").removeprefix("transformer.") for name in weights}
    prefix = {name: "encoder." if "transformer." in name else "" for name in weights}
    network.load_state_dict({prefix[name] + names[name]: weight for name, weight in weights.items()})
    return network.eval()


@torch.inference_mode()
def beside(seconds: float, repeats: int) -> None:
    """Print CPU seconds per second of audio of both, and the ratio."""
    plain = hubert("hubert_base_25hz", 11)
    peer, own = same_in_transformers(plain), HubertFeatures(plain.config).eval()
    own.load_state_dict(plain.state_dict())
    prepare(own, "cpu")
    half_peer = copy.deepcopy(peer).bfloat16()
    waveform, border = torch.randn(1, int(seconds * SAMPLE_RATE)) * 0.1, plain.config.receptive_field - 640
    padded, length = pad(waveform, (border // 2, border // 2)), torch.tensor([waveform.shape[1]])

    def half(features: HubertFeatures) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return features(waveform, length)[0]

    jobs: dict[str, Callable[[], Tensor]] = {
        "transformers": lambda: peer(padded).last_hidden_state,
        "plain": lambda: plain(waveform, length)[0],
        "prepared": lambda: own(waveform, length)[0],
        "transformers, bfloat16": lambda: half_peer(padded.bfloat16()).last_hidden_state,
        "plain, bfloat16": lambda: half(plain),
        "prepared, bfloat16": lambda: half(own),
    }
    found = {name: job() for name, job in jobs.items()}  # also warms up
    times: dict[str, list[float]] = {name: [] for name in jobs}
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for _ in range(repeats):
        for name, job in jobs.items():
            start = clock()
            job()
            times[name].append((clock() - start) / seconds)
    for name, values in times.items():
        first = "transformers, bfloat16" if "bfloat16" in name else "transformers"
        value, error = statistics.median(values), (found[name].float() - found["transformers"]).abs().max()
        print(f"{name:<26}{value:>9.4f} s/s   ratio {statistics.median(times[first]) / value:.2f}   off by {error:.1e}")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--beside", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.beside:
        beside(options.seconds, options.repeats)
        return
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
