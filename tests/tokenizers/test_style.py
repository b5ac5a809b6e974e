"""Style features: means of seconds, encoders of other libraries, and that padding changes nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torchaudio import pipelines
from transformers import Wav2Vec2Config, Wav2Vec2Model

from spiritlm_pl.runtime.checkpoint import load_network, save_network
from spiritlm_pl.tokenizers.encoders import TorchaudioSource, TransformersSource
from spiritlm_pl.tokenizers.features import MFCCConfig, block_means
from spiritlm_pl.tokenizers.hubert import HubertConfig, HubertFeatures, HubertNetwork
from spiritlm_pl.tokenizers.prosody import ProsodyConfig
from spiritlm_pl.tokenizers.style import STAGE, StyleEncoder

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


def hubert_features() -> HubertFeatures:
    config = HubertConfig(
        extractor_mode="mel", channels=20, embed_dim=16, num_layers=2, num_heads=2, feed_forward_dim=32,
        pos_conv_kernel=9, pos_conv_groups=4, num_classes=5, final_dim=8, layer_norm_first=True,
    )  # fmt: skip
    return HubertFeatures.from_network(HubertNetwork(config), 2)


def wav2vec2(folder: Path) -> Any:
    Wav2Vec2Model(Wav2Vec2Config(**TINY)).eval().save_pretrained(folder)
    return TransformersSource(transformers=str(folder)).build().eval()


def torchaudio_bundle(monkeypatch: pytest.MonkeyPatch) -> Any:
    from torchaudio.models import wav2vec2_model

    settings = {
        "extractor_mode": "group_norm",
        "extractor_conv_layer_config": [(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8, 2, 2)] * 2,
        "extractor_conv_bias": False,
        "encoder_embed_dim": 16,
        "encoder_projection_dropout": 0.1,
        "encoder_pos_conv_kernel": 16,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 2,
        "encoder_num_heads": 2,
        "encoder_attention_dropout": 0.1,
        "encoder_ff_interm_features": 32,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.1,
        "encoder_layer_norm_first": False,
        "encoder_layer_drop": 0.0,
        "aux_num_out": 7,
    }
    network = wav2vec2_model(**settings)
    bundle = pipelines.Wav2Vec2Bundle("none", settings, 16_000, False, "Wav2Vec2")
    monkeypatch.setattr(pipelines, "TINY", bundle, raising=False)
    monkeypatch.setattr(pipelines.Wav2Vec2Bundle, "get_model", lambda self: network)
    made = TorchaudioSource(bundle="TINY", layer=1).build().eval()
    expected = network.eval().extract_features(torch.ones(1, 8000), num_layers=1)[0][-1]
    torch.testing.assert_close(made(torch.ones(1, 8000), torch.tensor([8000]))[0], expected)
    return made


@pytest.fixture(params=["hubert", "transformers", "torchaudio", "mfcc", "prosody"])
def encoder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    torch.manual_seed(0)
    made = {
        "hubert": hubert_features,
        "transformers": lambda: wav2vec2(tmp_path / "w2v2"),
        "torchaudio": lambda: torchaudio_bundle(monkeypatch),
        "mfcc": lambda: MFCCConfig(normalize=False).build(),
        "prosody": lambda: ProsodyConfig(f0="yin", channels=16).build().eval(),
    }
    return made[request.param]()


def test_means_of_blocks() -> None:
    frames = torch.arange(7.0)[None, :, None].expand(2, -1, 3)
    means, numbers = block_means(frames, torch.tensor([7, 2]), 3)
    assert numbers.tolist() == [3, 1]
    assert means[0, :, 0].tolist() == [1, 4, 6]  # the last block is shorter
    assert means[1, 0, 0] == 0.5


def test_an_utterance_has_the_same_features_alone_and_beside_others(encoder: Any) -> None:
    torch.manual_seed(0)
    network = StyleEncoder.on(encoder, projection_dim=8, labels=("a", "b")).eval()
    waveforms = 0.1 * torch.randn(4, 40_000)
    lengths = torch.tensor([40_000, 17_000, 1_264, 160])  # 2.5 s, 1.06 s, 79 ms and 10 ms
    for row, length in enumerate(lengths.tolist()):
        waveforms[row, length:] = 0
    features, numbers = network(waveforms, lengths)
    assert numbers.tolist() == [3, 2, 1, 1] and bool(features.isfinite().all())
    torch.testing.assert_close(features.norm(dim=-1)[0], torch.ones(3))
    for row, length in enumerate(lengths.tolist()):
        alone, number = network(waveforms[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(alone[0], features[row, : int(number)], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("samples", [16_000, 31_999, 80_000, 88_000])
def test_there_is_one_vector_a_second(encoder: Any, samples: int) -> None:
    """In pieces of 100 s, too, one after the other: a vector too many would move all that follow."""
    network = StyleEncoder.on(encoder).eval()
    numbers = network(0.1 * torch.randn(1, samples), torch.tensor([samples]))[1]
    assert int(numbers) == -(-samples // 16_000)


def test_it_is_saved_and_loaded(encoder: Any, tmp_path: Path) -> None:
    network = StyleEncoder.on(encoder, projection_dim=8, labels=("a", "b")).eval()
    save_network(tmp_path / "style", network, STAGE)
    loaded: Any = load_network(tmp_path / "style", STAGE)
    waveforms, lengths = 0.1 * torch.randn(1, 20_000), torch.tensor([20_000])
    features = network(waveforms, lengths)[0]
    torch.testing.assert_close(loaded(waveforms, lengths)[0], features)
    torch.testing.assert_close(loaded.classify(features), network.classify(features))
    assert loaded.config.labels == ("a", "b")


def test_the_encoder_learns(encoder: Any) -> None:
    network = StyleEncoder.on(encoder, projection_dim=8, labels=("a", "b"))
    features, _ = network(0.1 * torch.randn(1, 16_000), torch.tensor([16_000]))
    network.classify(features).sum().backward()
    touched = [weight for weight in encoder.parameters() if weight.grad is not None]
    assert bool(touched) == bool(list(encoder.parameters()))


def test_frames_follow_the_convolutions(tmp_path: Path) -> None:
    half = TINY | {"conv_stride": (5, 2, 2, 2, 2, 2, 4)}  # 25 Hz
    Wav2Vec2Model(Wav2Vec2Config(**half)).eval().save_pretrained(tmp_path)
    encoder = TransformersSource(transformers=str(tmp_path)).build().eval()
    assert (encoder.frame_rate, encoder.hop_length, encoder.receptive_field) == (25.0, 640, 400)
    features, counts = encoder(0.1 * torch.randn(2, 16_000), torch.tensor([16_000, 9_000]))
    assert counts.tolist() == [25, 14] and features.shape[1] == 25


@pytest.mark.parametrize("layer", [-1, 0, 3])
def test_a_layer_that_does_not_exist_is_told(tmp_path: Path, layer: int) -> None:
    Wav2Vec2Model(Wav2Vec2Config(**TINY)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"layer must be in \[1, 2\], but is {layer} instead"):
        TransformersSource(transformers=str(tmp_path), layer=layer).build()


def test_unknown_names_are_told() -> None:
    with pytest.raises(ValueError, match="bundle must be a wav2vec 2.0 bundle .* but is 'NONE'"):
        TorchaudioSource(bundle="NONE").build()
    with pytest.raises(ValueError, match="encoder must be one of coarse, hubert, mfcc"):
        StyleEncoder.config_class(encoder="x", settings={})
