from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer

from spiritlm_pl.callbacks.write_units import WriteUnits
from spiritlm_pl.datamodules.features import FeatureDataModule
from spiritlm_pl.datamodules.speech import WaveformDataModule
from spiritlm_pl.modules.hubert import HubertModule, trapezoid
from spiritlm_pl.modules.quantizer import CTCQuantizerModule, KMeansModule
from spiritlm_pl.modules.tokenize import TokenizeModule
from spiritlm_pl.speech.augment import Augmentation
from spiritlm_pl.speech.features import MFCCConfig
from spiritlm_pl.speech.hubert import HubertConfig, HubertLayer
from spiritlm_pl.speech.kmeans import KMeansConfig
from spiritlm_pl.speech.mlp_quantizer import MLPQuantizerConfig
from spiritlm_pl.speech.tokenizer import PhoneticTokenizer
from spiritlm_pl.tokens.corpus_store import UnitCorpus

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
    num_classes=8,
    final_dim=16,
)


def fit(model: LightningModule, data: WaveformDataModule, epochs: int = 2) -> dict[str, torch.Tensor]:
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, data)
    return dict(trainer.callback_metrics)


@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_two_iterations_and_both_quantizers(tone_corpus: Path, tmp_path: Path) -> None:
    corpora = [str(tone_corpus)]

    def kmeans(features: MFCCConfig | HubertLayer, size: int, name: str) -> str:
        module = KMeansModule(KMeansConfig(num_units=8, feature_dim=size), start_frames=100)
        metrics = fit(module, FeatureDataModule(corpora, features=features, batch_seconds=5.0))
        assert np.isfinite(float(metrics["val/inertia"]))
        module.export(str(tmp_path / name))
        return str(tmp_path / name)

    def tokenize(tokenizer: str) -> str:
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_progress_bar=False,
            callbacks=[WriteUnits(f"{tokenizer}-units")],
        )
        trainer.predict(TokenizeModule(tokenizer), WaveformDataModule(corpora))
        return f"{tokenizer}-units/tones"

    labels = tokenize(kmeans(MFCCConfig(), 39, "mfcc"))
    initial = None
    for iteration in (1, 2):
        data = WaveformDataModule(corpora, labels=[labels], crop_seconds=1.0, batch_seconds=4.0)
        module = HubertModule(MINIATURE, initial=initial, warmup_steps=2)
        metrics = fit(module, data)
        assert {"val/accuracy_masked", "val/perplexity_predicted", "train/loss_masked"} <= metrics.keys()
        initial = str(tmp_path / f"hubert{iteration}")
        module.export(initial)
        features = HubertLayer(folder=initial, layer=2)
        tokenizer = kmeans(features, 32, f"tokenizer{iteration}")
        labels = tokenize(tokenizer)
    assert UnitCorpus(labels).num_units == 8
    robust = CTCQuantizerModule(MLPQuantizerConfig(num_units=8, feature_dim=32, hidden=(16, 16)), tokenizer)
    data = FeatureDataModule(corpora, features=features, augmentation=Augmentation(), batch_seconds=5.0)
    assert np.isfinite(float(fit(robust, data)["val/loss"]))
    robust.export(str(tmp_path / "robust"))
    assert PhoneticTokenizer.load(tmp_path / "robust").cardinality == 8
    with pytest.raises(ValueError, match="embed_dim must be 32"):
        HubertModule(HubertConfig(**{**vars(MINIATURE), "embed_dim": 16}), initial=initial).configure_model()


def test_schedule() -> None:
    assert trapezoid(0, warmup_steps=4, decay_steps=None) == 0.25
    assert trapezoid(9, warmup_steps=4, decay_steps=None) == 1.0
    assert trapezoid(7, warmup_steps=4, decay_steps=10) == pytest.approx(0.5)
