"""Held-out figures are those of the whole set, however it is cut into batches."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything
from torch.utils.data import DataLoader

from spiritlm_pl.contracts.batches import F0Batch, WaveformBatch
from spiritlm_pl.datamodules.features import FeatureDataModule
from spiritlm_pl.modules.held_out import HeldOutMeans
from spiritlm_pl.modules.hubert import HubertModule, perplexity
from spiritlm_pl.modules.pitch import PitchModule
from spiritlm_pl.modules.quantizer import CTCQuantizerModule, KMeansModule
from spiritlm_pl.tokenizers.augment import Augmentation
from spiritlm_pl.tokenizers.features import MFCCConfig
from spiritlm_pl.tokenizers.hubert import HubertConfig
from spiritlm_pl.tokenizers.kmeans import KMeansConfig
from spiritlm_pl.tokenizers.mlp_quantizer import MLPQuantizerConfig
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAEConfig

SECONDS = (100.0, 0.1)  # all utterances in a batch; one in each


def make_trainer(**settings: Any) -> Trainer:
    silent = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", devices=1, enable_checkpointing=False, **silent, **settings)


def validated(module: LightningModule, data: Any) -> dict[str, float]:
    if isinstance(data, list):
        data = DataLoader(data, batch_size=None)
    (figures,) = make_trainer().validate(module, data, verbose=False)
    return dict(figures)


def close(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_mean_weighs_each_thing_alike_and_hides_nothing() -> None:
    means = HeldOutMeans(["loss", "accuracy", "never"])
    means.add("loss", torch.tensor(1.0), 1)
    means.add("loss", torch.tensor(5.0), torch.tensor(3))
    means.add("loss", torch.tensor(float("nan")), 0)  # of nothing
    means.add("accuracy", torch.tensor(0.5), 2)
    means.add("accuracy", torch.tensor(0.0), 0)
    assert means.figures() == {"loss": 4.0, "accuracy": 0.5}
    means.add("loss", torch.tensor(float("nan")), 7)
    means.add("accuracy", torch.tensor(float("inf")), 1)
    assert math.isnan(means.figures()["loss"]) and means.figures()["accuracy"] == math.inf
    means.reset()
    assert means.figures() == {}


def test_quantizers(tone_corpus: Path, tmp_path: Path) -> None:
    def data(batch_seconds: float, **settings: Any) -> FeatureDataModule:
        features = MFCCConfig(normalize=False)
        return FeatureDataModule([str(tone_corpus)], features=features, batch_seconds=batch_seconds, **settings)

    kmeans = KMeansModule(KMeansConfig(num_units=6, feature_dim=39), start_frames=100)
    make_trainer(max_epochs=1, limit_val_batches=0).fit(kmeans, data(5.0))
    whole, cut = (validated(kmeans, data(seconds)) for seconds in SECONDS)
    assert whole["val/perplexity"] > 1.5
    close(cut, whole)
    kmeans.export(str(tmp_path / "teacher"))
    seed_everything(0, verbose=False)
    config = MLPQuantizerConfig(num_units=6, feature_dim=39, hidden=(16, 16))
    ctc = CTCQuantizerModule(config, teacher=str(tmp_path / "teacher"))
    nothing = Augmentation(probability=0.0)
    whole, cut = (validated(ctc, data(seconds, augmentation=nothing)) for seconds in SECONDS)
    close(cut, whole)


def test_pitch() -> None:
    generator = torch.Generator().manual_seed(0)
    contours = torch.stack([50 * torch.randn(3, 64, generator=generator), torch.ones(3, 64)], dim=1)
    contours[0, 1, 8:] = 0  # one utterance has few voiced frames, one is short
    lengths, means = torch.tensor([64, 32, 64]), torch.full((3,), 150.0)
    one, each = (
        [F0Batch(contours=contours[rows], means=means[rows], lengths=lengths[rows], ids=[str(rows)]) for rows in parts]
        for parts in ([slice(3)], [slice(row, row + 1) for row in range(3)])
    )
    seed_everything(0, verbose=False)
    module = PitchModule(PitchVQVAEConfig(num_codes=16, dim=16, width=16, depth=2, f0_scale=20.0))
    whole, cut = validated(module, one), validated(module, each)
    assert whole["val/loss_f0"] > 0
    close(cut, whole)


def test_hubert() -> None:
    """Masks and padding differ with the batches, so the figures are compared with what the labels tell."""
    generator = torch.Generator().manual_seed(0)
    labels = [torch.tensor([[0] * 25]), torch.tensor([[1] * 50, [2] * 50])]
    batches = [
        WaveformBatch(
            waveforms=torch.randn(len(rows), rows.shape[1] * 640, generator=generator),
            lengths=torch.full((len(rows),), rows.shape[1] * 640),
            ids=["a", "b"][: len(rows)],
            labels=rows,
            label_rate=25.0,
        )
        for rows in labels
    ]
    seed_everything(0, verbose=False)
    module = HubertModule(
        HubertConfig(
            kernels=(20, 8, 8, 8),
            strides=(10, 4, 4, 4),
            channels=16,
            embed_dim=32,
            num_layers=1,
            num_heads=2,
            feed_forward_dim=64,
            pos_conv_kernel=15,
            pos_conv_groups=4,
            num_classes=8,
            final_dim=16,
            layer_drop=0.0,
        ),
        unmasked_weight=0.5,
    )
    figures = validated(module, batches)
    frames = torch.tensor([25.0, 50.0, 50.0])
    assert figures["val/perplexity_labels"] == pytest.approx(float(perplexity(frames / frames.sum())), rel=0.01)
    parts = figures["val/loss_masked"] + 0.5 * figures["val/loss_unmasked"] + 10 * figures["val/feature_penalty"]
    assert figures["val/loss"] == pytest.approx(parts, rel=1e-5)
