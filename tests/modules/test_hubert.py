import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import LambdaCallback
from torch.utils.data import DataLoader

from spiritlm_pl.callbacks.write_units import WriteUnits
from spiritlm_pl.contracts.batches import WaveformBatch
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.datamodules.features import FeatureDataModule
from spiritlm_pl.datamodules.speech import WaveformDataModule
from spiritlm_pl.modules.hubert import HubertModule, trapezoid
from spiritlm_pl.modules.quantizer import CTCQuantizerModule, KMeansModule
from spiritlm_pl.modules.tokenize import TokenizeModule
from spiritlm_pl.tokenizers.augment import Augmentation
from spiritlm_pl.tokenizers.features import MFCCConfig
from spiritlm_pl.tokenizers.hubert import HubertConfig, HubertLayer
from spiritlm_pl.tokenizers.kmeans import KMeansConfig
from spiritlm_pl.tokenizers.mlp_quantizer import MLPQuantizerConfig
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
    num_classes=8,
    final_dim=16,
    mask_prob=0.5,
    mask_length=3,
    dropout=0.0,
    layer_drop=0.0,
    layer_norm_first=True,
)


def quick_trainer(**changes: Any) -> Trainer:
    arguments: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
    }
    return Trainer(**(arguments | changes))


def fit(model: LightningModule, data: WaveformDataModule, epochs: int = 2) -> dict[str, torch.Tensor]:
    trainer = quick_trainer(max_epochs=epochs)
    trainer.fit(model, data)
    metrics = dict(trainer.callback_metrics)
    (tested,) = trainer.test(model, data, verbose=False)
    measured = {name for name in metrics if name.startswith("val/")}
    assert {name.replace("test/", "val/") for name in tested} == measured
    return metrics


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_two_iterations_and_both_quantizers(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    corpora = [str(make_corpus(tmp_path / "tones", train=24, held_out=8))]

    def kmeans(features: MFCCConfig | HubertLayer, size: int, name: str) -> str:
        module = KMeansModule(KMeansConfig(num_units=6, feature_dim=size), start_frames=100)
        metrics = fit(module, FeatureDataModule(corpora, features=features, batch_seconds=5.0))
        assert float(metrics["val/inertia"]) < 0.8 * size  # the features have unit variance
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

    labels = tokenize(kmeans(MFCCConfig(normalize=False), 39, "mfcc"))
    initial = None
    for iteration in (1, 2):
        data = WaveformDataModule(corpora, labels=[labels], crop_seconds=None, batch_seconds=8.0)
        seed_everything(0, verbose=False)
        module = HubertModule(MINIATURE, initial, 1.0, 1.0, penalty_weight=0.0, learning_rate=3e-3, warmup_steps=2)
        metrics = fit(module, data, epochs=10)
        # Shuffled labels give an accuracy below 0.5 and a loss above the entropy of the labels.
        assert metrics["val/accuracy_masked"] > 0.65
        assert metrics["val/loss_masked"] < 0.6 * metrics["val/perplexity_labels"].log()
        initial = str(tmp_path / f"hubert{iteration}")
        module.export(initial)
        features = HubertLayer(folder=initial, layer=2)
        tokenizer = kmeans(features, 32, f"tokenizer{iteration}")
        labels = tokenize(tokenizer)
    assert UnitCorpus(labels).num_units == 6

    def robust(layer: HubertLayer, epochs: int) -> tuple[CTCQuantizerModule, float]:
        seed_everything(0, verbose=False)
        module = CTCQuantizerModule(MLPQuantizerConfig(num_units=6, feature_dim=32, hidden=(32, 32)), tokenizer)
        data = FeatureDataModule(corpora, features=layer, augmentation=Augmentation(), batch_seconds=5.0)
        return module, float(fit(module, data, epochs)["val/loss"])

    (_, first), (trained, last) = robust(features, 1), robust(features, 6)
    assert last < 0.5 * first
    trained.export(str(tmp_path / "robust"))
    assert PhoneticTokenizer.load(tmp_path / "robust").cardinality == 6
    with pytest.raises(ValueError, match=r"data.features must be the teacher's .*layer=2.*, but is .*layer=1"):
        robust(HubertLayer(folder=initial, layer=1), 1)
    with pytest.raises(ValueError, match=r"data.features must be the network of teacher .*, but differs in encoder"):
        robust(HubertLayer(folder=str(tmp_path / "hubert1"), layer=2), 1)
    with pytest.raises(ValueError, match="embed_dim must be 32"):
        HubertModule(replace(MINIATURE, embed_dim=16), initial=initial).configure_model()


class Watched(HubertModule):
    """Keeps the masks of every micro-batch."""

    def configure_model(self) -> None:
        super().configure_model()
        self.masks: list[torch.Tensor] = []
        assert self.network is not None
        self.network.register_forward_hook(lambda module, arguments, prediction: self.masks.append(prediction.masked))


def labelled(number: int) -> DataLoader[WaveformBatch]:
    """The same batch over and over."""
    random = torch.Generator().manual_seed(0)
    batch = WaveformBatch(
        waveforms=torch.randn(2, 16_000, generator=random),
        lengths=torch.tensor([16_000, 16_000]),
        ids=["a", "b"],
        labels=torch.randint(8, (2, 25), generator=random),
        label_rate=25.0,
    )
    return DataLoader([batch] * number, batch_size=None)


def test_every_micro_batch_has_masks_of_its_own(tmp_path: Path) -> None:
    module = Watched(MINIATURE)
    quick_trainer(max_steps=2, limit_val_batches=0, accumulate_grad_batches=2).fit(module, labelled(4), labelled(1))
    assert len({tuple(mask.flatten().tolist()) for mask in module.masks}) == 4


class LoudnessLabels(WaveformDataModule):
    """Labels every frame with how loud it is."""

    def on_after_batch_transfer(self, batch: WaveformBatch, dataloader_idx: int) -> WaveformBatch:
        frames = batch.waveforms[:, : batch.waveforms.shape[1] // 640 * 640].unflatten(1, (-1, 640))
        return replace(batch, labels=(40 * frames.abs().mean(-1)).long().clamp(max=7), label_rate=25.0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_is_the_same(tone_corpus: Path, tmp_path: Path, accumulate: int) -> None:
    def run(steps: int, resume: Path | None = None) -> HubertModule:
        seed_everything(0, verbose=False)
        module = HubertModule(replace(MINIATURE, dropout=0.2, layer_drop=0.3), warmup_steps=2, decay_steps=7)
        data = LoudnessLabels([str(tone_corpus)], crop_seconds=1.0, batch_seconds=2.0)
        save = LambdaCallback(
            on_train_batch_end=lambda fit, *_: fit.save_checkpoint(tmp_path / f"{fit.global_step}.ckpt")
        )
        options: dict[str, Any] = {"accumulate_grad_batches": accumulate, "limit_val_batches": 0}
        torch.rand(1 if resume is None else 5)  # where the global generator stands must not matter
        quick_trainer(max_steps=steps, callbacks=[save], **options).fit(
            module, data, ckpt_path=resume, weights_only=False
        )
        return module

    straight = run(7).state_dict()
    run(4)
    resumed = run(7, tmp_path / "4.ckpt").state_dict()
    for name, value in straight.items():
        assert torch.equal(resumed[name], value), name


def test_learning_rate_falls_to_the_end_of_the_run() -> None:
    for steps in (4, 6):
        rates: list[float] = []
        note = LambdaCallback(
            on_train_batch_start=lambda fit, *_: rates.append(fit.optimizers[0].param_groups[0]["lr"])  # noqa: B023
        )
        module = HubertModule(MINIATURE, learning_rate=1.0, warmup_steps=2)
        quick_trainer(max_steps=steps, callbacks=[note]).fit(module, labelled(6), labelled(1))
        assert rates[:2] == [0.5, 1.0] and rates[-1] == pytest.approx(1 / (steps - 2))


def test_schedule() -> None:
    assert trapezoid(0, warmup_steps=4, decay_steps=math.inf) == 0.25
    assert trapezoid(9, warmup_steps=4, decay_steps=math.inf) == 1.0
    assert trapezoid(7, warmup_steps=4, decay_steps=10) == pytest.approx(0.5)
