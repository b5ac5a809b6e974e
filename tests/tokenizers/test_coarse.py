"""Coarser frames: exact means, exact segments, and a tokenizer of syllable-like units that is written and read."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity
from transformers import HubertConfig, HubertModel

from spiritlm_pl.cli.main import run
from spiritlm_pl.contracts.speech_tokenizer import FeatureExtractor, FeatureSource
from spiritlm_pl.tokenizers.coarse import CoarseFeatures, CoarseSource, segment_numbers
from spiritlm_pl.tokenizers.features import MFCCConfig
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer


def noise(samples: int) -> torch.Tensor:
    return torch.randn(2, samples, generator=torch.Generator().manual_seed(0)) * 0.1


def test_frames_are_averaged_to_a_lower_rate() -> None:
    source = MFCCConfig(frame_rate=50.0)
    coarse = CoarseSource(features=source, average=4).build()
    assert isinstance(coarse, FeatureExtractor) and isinstance(CoarseSource(features=source), FeatureSource)
    assert coarse.frame_rate == 12.5 and coarse.sample_rate == 16_000
    waveforms, lengths = noise(16_000), torch.tensor([16_000, 9_999])
    fine, _ = source.build()(waveforms, lengths)
    found, counts = coarse(waveforms, lengths)
    assert counts.tolist() == [50 // 4, 31 // 4]
    assert torch.allclose(found[0, :12], fine[0, :48].reshape(12, 4, -1).mean(1), atol=1e-5)
    assert torch.allclose(found[1, :7], fine[1, :28].reshape(7, 4, -1).mean(1), atol=1e-5)


def test_segments_begin_where_a_frame_is_unlike_those_before() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    frames = torch.stack([a, a, a + 0.1 * b, b, b, a])
    assert segment_numbers(frames, 0.9, 50).tolist() == [0, 0, 0, 1, 1, 2]
    assert segment_numbers(frames, 0.9, 2).tolist() == [0, 0, 1, 2, 2, 3]
    assert segment_numbers(frames, -1.0, 50).tolist() == [0] * 6
    assert segment_numbers(frames[:0], 0.9, 50).tolist() == []


def test_segments_are_those_of_cosine_similarities_and_soon_found() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(2000, 64, generator=generator).cumsum(0)
    frames[100:105] = 0.0
    for similarity, longest in ((0.9, 50), (0.99, 7), (-0.2, 30), (0.0, 50)):
        expected: list[int] = []
        total, size = torch.zeros(64), 0
        for frame in frames.double():
            alike = 0 < size < longest and float(cosine_similarity(frame, total, dim=0)) >= similarity
            total, size = (total + frame, size + 1) if alike else (frame, 1)
            expected.append((expected or [-1])[-1] + (not alike))
        assert segment_numbers(frames, similarity, longest).tolist() == expected and expected[-1] > 30
    with torch.profiler.profile() as profile:
        segment_numbers(frames, 0.9, 50)
    assert sum(event.count for event in profile.key_averages()) < 100  # nothing of torch for each frame


def test_a_segment_is_one_token_with_the_time_of_its_frames(tmp_path: Path) -> None:
    coarse = CoarseSource(features=MFCCConfig(frame_rate=50.0), similarity=0.5, longest=8).build()
    quantizer = KMeans(KMeansConfig(num_units=30, feature_dim=coarse.feature_dim))
    with torch.no_grad():
        quantizer.centroids.normal_(generator=torch.Generator().manual_seed(1))
    tokenizer = PhoneticTokenizer(coarse, quantizer)
    waveforms, lengths = noise(32_000), torch.tensor([32_000, 20_000])
    features, _ = coarse(waveforms, lengths)
    units = tokenizer.encode(waveforms, lengths)
    segments = segment_numbers(coarse.inner(waveforms, lengths)[0][0], 0.5, 8)
    changes = (features[0, 1:] != features[0, :-1]).any(1)
    assert torch.equal(changes, segments.diff() > 0) and int(segments[-1]) > 5
    assert units[0].num_frames == 100 and len(units[0].values) <= int(segments[-1]) + 1
    again = PhoneticTokenizer.load(tokenizer.save(tmp_path))
    assert isinstance(again.extractor, CoarseFeatures) and again.extractor.config == coarse.config
    for one, other in zip(units, again.encode(waveforms, lengths), strict=True):
        assert torch.equal(one.values, other.values) and torch.equal(one.starts, other.starts)
    alone = tokenizer.encode(waveforms[1:, :20_000], lengths[1:])[0]
    assert torch.equal(alone.values, units[1].values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"average": 0}, "average must be at least 1, but is 0"),
        ({"longest": 0}, "longest must be at least 1, but is 0"),
        ({"similarity": 1.5}, r"similarity must be in \[-1, 1\], but is 1.5"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CoarseSource(features=MFCCConfig(), **options)  # type: ignore[arg-type]


def test_weights_of_the_inner_network_are_kept(tmp_path: Path) -> None:
    from spiritlm_pl.runtime.checkpoint import load_network, save_network
    from spiritlm_pl.tokenizers.encoders import TransformersEncoder, TransformersEncoderConfig

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [40, 8], "num_feat_extract_layers": 2}
    model = {"model_type": "hubert", "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}

    class Source:
        def build(self) -> nn.Module:
            return TransformersEncoder(TransformersEncoderConfig(model={**model, **sizes, **convolutions}))

    coarse = CoarseSource(features=Source(), average=2).build().eval()
    again = load_network(save_network(tmp_path, coarse, "features"), "features")
    waveforms, lengths = noise(16_000), torch.tensor([16_000, 16_000])
    assert coarse.frame_rate == 25.0
    assert torch.equal(coarse(waveforms, lengths)[0], again(waveforms, lengths)[0])


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_the_configuration_on_the_page_trains_units(tmp_path: Path, tone_corpus: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "codecs.md").read_text(encoding="utf-8")
    command, shown = re.search(r"```yaml\n# spiritlm (fit .*?) syllables.yaml\n(.*?)```", page, re.DOTALL).groups()  # type: ignore[union-attr]
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    HubertModel(HubertConfig(**sizes, conv_dim=(8,) * 7, num_conv_pos_embedding_groups=2)).save_pretrained(
        tmp_path / "h"
    )
    config = tmp_path / "syllables.yaml"
    config.write_text(shown.replace("facebook/hubert-base-ls960, layer: 9", f"{tmp_path}/h, layer: 1"))
    run(
        [
            *(*command.split(), str(config), f"--data.init_args.corpora=[{tone_corpus}]"),
            "--model.init_args.config={num_units: 4, feature_dim: 16}",
            *("--model.init_args.start_frames=200", "--data.init_args.num_workers=0", "--trainer.max_epochs=1"),
            *("--trainer.accelerator=cpu", "--trainer.strategy=auto", "--trainer.devices=1", "--trainer.logger=false"),
            *(f"--trainer.default_root_dir={tmp_path}", "--trainer.enable_progress_bar=false"),
            f"--trainer.callbacks.dirpath={tmp_path}/out",
        ]
    )
    found = PhoneticTokenizer.load(tmp_path / "out")
    assert isinstance(found.extractor, CoarseFeatures) and found.extractor.config.similarity == 0.8
