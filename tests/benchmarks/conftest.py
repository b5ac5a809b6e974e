"""A model with a speech tokenizer, and pairs of recordings and of texts."""

import pytest
import torch

from spiritlm_pl.benchmarks.choices import ChoiceBenchmark
from spiritlm_pl.benchmarks.contract import Info
from spiritlm_pl.benchmarks.items import ChoiceItem, Figure, Reading
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.generation.codec import SpeechCodec
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.generation.types import Speech, Text
from spiritlm_pl.tokenizers.features import MFCCConfig, MFCCFeatures
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer


@pytest.fixture(scope="session")
def speech_tokenizer():
    torch.manual_seed(3)
    features = MFCCFeatures(MFCCConfig())
    quantizer = KMeans(KMeansConfig(num_units=20, feature_dim=features.feature_dim))
    torch.nn.init.normal_(quantizer.centroids)
    return PhoneticTokenizer(features, quantizer).eval()


@pytest.fixture(scope="session")
def model(tiny_lm, speech_tokenizer):
    network, text, vocabulary = tiny_lm
    return SpiritLM(network, text, vocabulary, speech_tokenizer)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """Eight recordings of noise whose colour changes."""
    folder = tmp_path_factory.mktemp("recordings")
    generator = torch.Generator().manual_seed(5)
    for number in range(8):
        noise = torch.randn(8000 + 800 * number, generator=generator)
        save_wav(folder / f"{number}.wav", 0.2 * torch.cumsum(noise, 0).diff(n=number % 3).clamp(-4, 4) / 4)
    return folder


def plain_average(lines, variant):
    points = [line.points(variant) for line in lines]
    return [Figure("all", 100 * sum(points) / len(points), None, None, len(points))]


def read_pairs(folder, broken=()):
    """Pair the recordings, two of them after a context."""
    items = [
        ChoiceItem(
            f"pair-{number}",
            (Speech(folder / f"{6 - number}.wav"),) if number > 1 else (),
            (Speech(folder / f"{number}.wav"),),
            (Speech(folder / f"{number + 1}.wav"),),
            {"place": number},
        )
        for number in range(6)
    ]
    words = [ChoiceItem("text", (Text("the cat sat"),), (Text("on the mat"),), (Text("a dog ran"),))]
    lost = [ChoiceItem(name, (), (Speech(folder / "0.wav"),), (Speech(folder / name),)) for name in broken]
    return Reading([*items, *words, *lost], "pairs")


@pytest.fixture
def pairs():
    info = Info(title="Pairs", measures="noise", licence="free", source="here", needs="all", size="7 pairs")
    return ChoiceBenchmark(info, read_pairs, plain_average)


@pytest.fixture
def tokenizer_calls(monkeypatch):
    """Number of utterances that were tokenized."""
    calls = []
    encode_batch = SpeechCodec.encode_batch

    def counted(self, batch):
        calls.extend(speech for speech in batch if speech.tokens is None)
        return encode_batch(self, batch)

    monkeypatch.setattr(SpeechCodec, "encode_batch", counted)
    return calls
