from pathlib import Path

import pytest
import torch

from spiritlm_pl.contracts.speech_tokenizer import FeatureExtractor, Quantizer, SpeechTokenizer, Units
from spiritlm_pl.tokenizers.features import MFCCConfig, MFCCFeatures
from spiritlm_pl.tokenizers.hubert import HubertConfig, HubertFeatures, HubertNetwork
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig, MinibatchKMeans
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer

MINIATURE = HubertConfig(
    kernels=(20, 8, 8, 8),
    strides=(10, 4, 4, 4),
    channels=16,
    extractor_mode="layer_norm",
    embed_dim=32,
    num_layers=2,
    num_heads=2,
    feed_forward_dim=64,
    pos_conv_kernel=15,
    pos_conv_groups=4,
    num_classes=10,
    final_dim=16,
)


def extractors() -> list[torch.nn.Module]:
    torch.manual_seed(0)
    group_norm = HubertConfig(**{**vars(MINIATURE), "extractor_mode": "group_norm"})
    return [
        MFCCFeatures(MFCCConfig()),
        MFCCFeatures(MFCCConfig(frame_rate=50.0, pooling="stack", normalize=False)),
        HubertFeatures.from_network(HubertNetwork(MINIATURE), 1),
        HubertFeatures.from_network(HubertNetwork(group_norm), 2),
        HubertFeatures.from_network(HubertNetwork(MINIATURE), 2, normalize=True),
    ]


@pytest.mark.parametrize("index", range(5))
def test_features_do_not_depend_on_the_batch(index: int) -> None:
    extractor = extractors()[index]
    assert isinstance(extractor, FeatureExtractor)
    waveforms = 0.1 * torch.randn(3, 32_000)
    lengths = torch.tensor([32_000, 20_000, 100])
    features, frames = extractor(waveforms, lengths)
    hop = extractor.sample_rate / extractor.frame_rate
    assert frames.tolist() == [int(32_000 // hop), int(20_000 // hop), 0]
    assert features.shape == (3, 32_000 // hop, extractor.feature_dim)
    for row in range(2):
        alone, _ = extractor(waveforms[row : row + 1, : lengths[row]], lengths[row : row + 1])
        torch.testing.assert_close(features[row, : frames[row]], alone[0], rtol=1e-3, atol=1e-4)


def test_normalised_features_of_an_utterance() -> None:
    extractor = extractors()[4]
    features, frames = extractor(0.1 * torch.randn(2, 32_000), torch.tensor([32_000, 20_000]))
    for row in range(2):
        own = features[row, : frames[row]]
        torch.testing.assert_close(own.mean(0), torch.zeros(32), rtol=0, atol=1e-4)
        torch.testing.assert_close(own.var(0, unbiased=False), torch.ones(32), rtol=0, atol=1e-2)


def test_units_collapse_and_repeat() -> None:
    frames = torch.tensor([3, 3, 1, 1, 1, 3, 0])
    units = Units.from_frames(frames)
    assert units.values.tolist() == [3, 1, 3, 0] and units.starts.tolist() == [0, 2, 5, 6]
    assert torch.equal(units.frames(), frames)
    empty = Units.from_frames(torch.zeros(0, dtype=torch.long))
    assert empty.num_frames == 0 and len(empty.frames()) == 0


def test_tokenizer_round_trip_chunks_and_short_audio(tmp_path: Path) -> None:
    extractor = HubertFeatures.from_network(HubertNetwork(MINIATURE), 2)
    waveforms = 0.1 * torch.randn(3, 48_000)
    lengths = torch.tensor([48_000, 30_000, 0])
    features, _ = extractor(waveforms, lengths)
    quantizer = KMeans(KMeansConfig(num_units=8, feature_dim=32))
    MinibatchKMeans(quantizer).start(features[0])
    tokenizer = PhoneticTokenizer(extractor, quantizer, chunk_seconds=1.0)
    assert isinstance(tokenizer, SpeechTokenizer) and isinstance(quantizer, Quantizer)
    assert (tokenizer.hop_length, tokenizer.frame_rate, tokenizer.cardinality) == (640, 25.0, 8)
    tokenizer.save(tmp_path / "tokenizer")
    loaded = PhoneticTokenizer.load(tmp_path / "tokenizer")
    for units, again in zip(tokenizer.encode(waveforms, lengths), loaded.encode(waveforms, lengths), strict=True):
        assert torch.equal(units.frames(), again.frames())
    assert [units.num_frames for units in loaded.encode(waveforms, lengths)] == [75, 46, 0]
    chunks = [
        loaded.encode(waveforms[:1, s : s + 16_000], torch.tensor([16_000]))[0].frames()
        for s in range(0, 48_000, 16_000)
    ]
    assert torch.equal(loaded.encode(waveforms, lengths)[0].frames(), torch.cat(chunks))


def test_errors_name_the_argument(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tokenizer must be a folder of stage 'speech_tokenizer'"):
        PhoneticTokenizer.load(tmp_path)
    with pytest.raises(ValueError, match="frame_rate must divide"):
        MFCCConfig(frame_rate=30.0)
    with pytest.raises(ValueError, match="strides must be .*, one for each kernel"):
        HubertConfig(kernels=(10,), strides=(5, 2))
