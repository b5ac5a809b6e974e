"""A batch that is not finite changes nothing in any stage, is counted, and a run of nothing else ends in one line."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader

from spiritlm_pl.contracts.batches import FeatureBatch, WaveformBatch
from spiritlm_pl.modules.hubert import HubertModule
from spiritlm_pl.modules.quantizer import CTCQuantizerModule, KMeansModule
from spiritlm_pl.modules.skipped_steps import SkippedSteps, TrainingDivergedError
from spiritlm_pl.modules.stage import MODULE, FiniteStepsModule
from spiritlm_pl.tokenizers.features import MFCCConfig, MFCCFeatures
from spiritlm_pl.tokenizers.hubert import HubertConfig
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.mlp_quantizer import MLPQuantizerConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer

SIZE = KMeansConfig(num_units=4, feature_dim=39)
HUBERT = HubertConfig(
    kernels=(20, 8, 8, 8),
    strides=(10, 4, 4, 4),
    channels=8,
    extractor_mode="layer_norm",
    embed_dim=16,
    num_layers=1,
    num_heads=2,
    feed_forward_dim=32,
    pos_conv_kernel=15,
    pos_conv_groups=4,
    num_classes=8,
    final_dim=8,
    mask_prob=0.5,
    mask_length=3,
)


def train(module: LightningModule, batches: Sequence[Any], **settings: Any) -> dict[str, Tensor]:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **settings,
    )
    data: DataLoader[Any] = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]  # a list is a data set
    trainer.fit(module, data, data)
    return trainer.callback_metrics


def waveforms(seed: int, broken: bool = False) -> WaveformBatch:
    random = torch.Generator().manual_seed(seed)
    batch = WaveformBatch(
        waveforms=torch.randn(2, 8_000, generator=random),
        lengths=torch.tensor([8_000, 8_000]),
        ids=["a", "b"],
        labels=torch.randint(8, (2, 12), generator=random),
        label_rate=25.0,
    )
    batch.waveforms[1, 4_000] = torch.nan if broken else 0.0
    return batch


def features(seed: int, broken: bool = False) -> FeatureBatch:
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(2, 30, 39, generator=random)
    values[1, 12, 3] = torch.nan if broken else 0.0
    lengths = torch.tensor([30, 30])
    return FeatureBatch(features=values, lengths=lengths, ids=["a", "b"], augmented=values, augmented_lengths=lengths)


def hubert(teacher: str, **settings: Any) -> HubertModule:
    return HubertModule(HUBERT, warmup_steps=1, learning_rate=1e-2, **settings)


def ctc(teacher: str, **settings: Any) -> CTCQuantizerModule:
    return CTCQuantizerModule(MLPQuantizerConfig(num_units=4, feature_dim=39, hidden=(8, 8)), teacher, **settings)


def kmeans(teacher: str, **settings: Any) -> KMeansModule:
    return KMeansModule(SIZE, start_frames=50, start_iterations=1, **settings)


STAGES = pytest.mark.parametrize(
    ("make", "batch"), [(hubert, waveforms), (ctc, features), (kmeans, features)], ids=["hubert", "ctc", "kmeans"]
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    quantizer = KMeans(SIZE)
    quantizer.centroids.copy_(torch.randn(4, 39))
    PhoneticTokenizer(MFCCFeatures(MFCCConfig(normalize=False)), quantizer).save(folder)
    return str(folder)


def weights(module: LightningModule) -> dict[str, Tensor]:
    network = module.network
    assert isinstance(network, nn.Module)
    return {name: value.clone() for name, value in network.state_dict().items()}


@STAGES
def test_a_batch_that_is_not_finite_changes_nothing(make: Any, batch: Any, teacher: str) -> None:
    found = []
    for last in ([], [batch(2, broken=True)]):
        seed_everything(0, verbose=False)
        module = make(teacher)
        figures = train(module, [batch(0), batch(1), *last])
        assert module.skipped.total == figures["train/skipped_steps"] == len(last)
        found.append(weights(module))
    clean, other = found
    for name, value in clean.items():
        assert value.isfinite().all() and torch.equal(value, other[name]), name


@STAGES
def test_training_goes_on_after_it(make: Any, batch: Any, teacher: str, caplog: pytest.LogCaptureFixture) -> None:
    seed_everything(0, verbose=False)
    module = make(teacher)
    train(module, [batch(0, broken=True), batch(0), batch(1, broken=True), batch(1)])
    assert module.skipped.total == 2 and module.skipped.in_a_row == 0
    assert all(value.isfinite().all() for value in weights(module).values())
    assert "2 of 4 steps were skipped, as their gradients were not finite" in caplog.text


@STAGES
def test_too_many_in_a_row_end_the_training(make: Any, batch: Any, teacher: str) -> None:
    module = make(teacher, max_nonfinite_steps=2)
    with pytest.raises(TrainingDivergedError, match="gradients must be finite, but were not for 2 steps in a row"):
        train(module, [batch(0), *[batch(1, broken=True)] * 7])
    assert all(value.isfinite().all() for value in weights(module).values())


@STAGES
def test_a_training_of_skipped_steps_alone_does_not_end_well(make: Any, batch: Any, teacher: str) -> None:
    with pytest.raises(TrainingDivergedError, match="but were not in any of the 3 steps: nothing was trained"):
        train(make(teacher), [batch(0, broken=True)] * 3)


@STAGES
def test_a_checkpoint_from_before_steps_were_counted_is_read(make: Any, batch: Any, teacher: str) -> None:
    module = make(teacher)
    module.on_load_checkpoint({MODULE: type(module).__name__})
    assert module.skipped.state_dict() == SkippedSteps(10).state_dict()


class Normalised(FiniteStepsModule):
    """A network that changes by the forward pass alone, as some encoders of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.network(batch).square().sum() + (self.network[0].weight * torch.arange(1.0, 4.0)).sum()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Not needed."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_running_statistics_are_put_back(accumulate: int) -> None:
    batches = [torch.randn(5, 3) for _ in range(6)]
    broken = [*batches[:2], *[batches[2], torch.full((5, 3), torch.nan)][2 - accumulate :]]
    found = []
    for data in (batches[:2], broken):
        torch.manual_seed(0)
        module = Normalised()
        train(module, data, accumulate_grad_batches=accumulate)
        found.append(weights(module))
    for name, value in found[0].items():
        assert value.isfinite().all() and torch.equal(value, found[1][name]), name


def test_gradients_are_clipped_by_value_where_asked_for() -> None:
    moved = {}
    for algorithm in ("norm", "value"):
        torch.manual_seed(0)
        module = Normalised()
        before = module.network[0].weight.detach().clone()
        train(module, [torch.randn(5, 3)], gradient_clip_val=0.5, gradient_clip_algorithm=algorithm)
        moved[algorithm] = (before - module.network[0].weight.detach()).abs()
    assert moved["norm"].norm() <= 0.5 + 1e-5
    torch.testing.assert_close(moved["value"].max(), torch.tensor(0.5))
    assert moved["value"].norm() > 0.5  # more than a norm of 0.5 lets through


def test_where_the_trainer_does_not_clip_no_value_is_taken(teacher: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gradient_clip_algorithm must be norm, but is value instead"):
        train(kmeans(teacher), [features(0)], gradient_clip_algorithm="value")


def test_augmented_features_alone_are_enough_to_skip(teacher: str) -> None:
    module = ctc(teacher)
    train(module, [features(0), replace(features(1), augmented=features(1, broken=True).features)])
    assert module.skipped.total == 1
