"""Quantizers that turn frame features into units: k-means, and an MLP trained by CTC to be robust.

Shapes: B batch, T frames, D feature dimension, N frames of a batch, K units.
"""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from spiritlm_pl.contracts.batches import FeatureBatch, within
from spiritlm_pl.contracts.data_modules import FeatureData
from spiritlm_pl.contracts.features import FeatureExtractor
from spiritlm_pl.contracts.quantizer import Quantizer
from spiritlm_pl.contracts.units import Units
from spiritlm_pl.lm.schedule import Constant, Schedule
from spiritlm_pl.modules.held_out import HeldOutMeans
from spiritlm_pl.modules.hubert import perplexity, shares
from spiritlm_pl.modules.stage import FiniteStepsModule, data_of, schedule_within
from spiritlm_pl.runtime.checkpoint import load_network, save_network
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig, MinibatchKMeans, nearest, sum_over_ranks
from spiritlm_pl.tokenizers.mlp_quantizer import MLPQuantizer, MLPQuantizerConfig, ctc_loss
from spiritlm_pl.tokenizers.phonetic import EXTRACTOR, QUANTIZER, PhoneticTokenizer

CTC_LOSSES = ("loss", "loss_augmented", "loss_clean")


class QuantizerModule(FiniteStepsModule):
    """Base class of both kinds of quantizers: checks the data's features, and exports a whole tokenizer."""

    network: KMeans | MLPQuantizer

    @property
    def extractor(self) -> FeatureExtractor | None:
        """The extractor that computes the features of the data; None for a trainer without a data module."""
        data = data_of(self, FeatureData)
        return None if data is None else data.extractor

    def on_fit_start(self) -> None:
        """Check the size of the features.

        Raises:
            ValueError: if the data's features have another size.
        """
        super().on_fit_start()
        extractor = self.extractor
        if extractor is not None and extractor.feature_dim != self.network.feature_dim:
            raise ValueError(
                f"config.feature_dim must be the data's {extractor.feature_dim}, "
                f"but is {self.network.feature_dim} instead"
            )

    def export(self, folder: str) -> None:
        """Write a tokenizer folder: the quantizer, and the feature extractor of the data on which it was trained."""
        if self.global_rank != 0:
            return
        extractor = self.extractor
        if extractor is None:
            save_network(Path(folder) / QUANTIZER, self.network, "quantizer")
        else:
            PhoneticTokenizer(extractor, self.network).save(folder)


def valid_frames(features: Tensor, lengths: Tensor) -> Tensor:
    """Return the frames (N, D) of features (B, T, D) that lie before each end."""
    return features[within(lengths, features.shape[1])]


def check_extractor(extractor: nn.Module, teacher: str) -> None:
    """Check that the tokenizer of a folder reads the features that an extractor gives.

    Args:
        extractor: feature extractor of the data.
        teacher: folder of the tokenizer.

    Raises:
        ValueError: if the tokenizer's extractor has another configuration or other weights.
    """
    theirs = load_network(Path(teacher) / EXTRACTOR, "features")
    if theirs.config != extractor.config:
        raise ValueError(f"data.features must be the teacher's {theirs.config}, but is {extractor.config} instead")
    weights = extractor.state_dict()
    other = [name for name, value in theirs.state_dict().items() if not torch.equal(value, weights[name].cpu())]
    if other:
        raise ValueError(f"data.features must be the network of teacher {teacher}, but differs in {other[0]} instead")


class KMeansModule(QuantizerModule):
    """Minibatch k-means, which collects the first batches to place the centroids.

    Args:
        config: number of clusters and size of the features.
        start_frames: number of frames, over all ranks, from which the centroids are first placed.
        start_iterations: number of passes of plain k-means over these frames.
        patience: number of updates without a frame after which a cluster is moved.
        seed: seed for the start and for moves of clusters.
        max_nonfinite_steps: number of batches in a row, left out because a feature is not finite, at which training
            ends.
    """

    network: KMeans

    def __init__(
        self,
        config: KMeansConfig,
        start_frames: int = 100_000,
        start_iterations: int = 10,
        patience: int = 20,
        seed: int = 0,
        max_nonfinite_steps: int = 10,
    ) -> None:
        """Make an empty codebook, and an unused parameter that lets trainer and DDP count steps."""
        super().__init__(max_nonfinite_steps)
        self.automatic_optimization = False
        self.network = KMeans(config)
        self.fitter = MinibatchKMeans(self.network, seed=seed, patience=patience)
        self.start_frames, self.start_iterations = start_frames, start_iterations
        self.idle = nn.Parameter(torch.zeros(()))
        self._collected: list[Tensor] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build an optimizer for the unused parameter, whose steps count updates."""
        return torch.optim.SGD([self.idle], lr=0.0)

    def training_step(self, batch: FeatureBatch, batch_idx: int) -> None:
        """Collect frames for the start, or update; a batch that is not finite on some rank is left out on all."""
        frames = valid_frames(batch.features, batch.lengths)
        finite = torch.tensor([frames.isfinite().all()], dtype=torch.float64, device=self.device)
        skipped = bool(sum_over_ranks(1 - finite))
        frames = frames[:0] if skipped else frames
        if int(self.fitter.updates) == 0:
            self._collected.append(frames)
            total = sum(len(part) for part in self._collected)
            everywhere = int(sum_over_ranks(torch.tensor([total], device=self.device)))
            last = self.trainer.is_last_batch
            if everywhere and (everywhere >= self.start_frames or last):
                self.fitter.start(torch.cat(self._collected), self.start_iterations)
                self._collected = []
        elif not skipped:
            found = self.fitter.update(frames)
            named = {f"train/{name}": value for name, value in found.items()}
            self.log_dict(named, batch_size=len(batch.ids))
        optimizer: Any = self.optimizers()
        optimizer.step()
        self.count_step(skipped)

    def on_validation_epoch_start(self) -> None:
        """Reset the summed distances to centroids and the counts of clusters."""
        self._counts = torch.zeros(self.network.num_units, dtype=torch.float64, device=self.device)
        self._distance = torch.zeros(1, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: FeatureBatch, batch_idx: int) -> None:
        """Collect distances to the centroids, and counts of the clusters."""
        frames = self.network.standardize(valid_frames(batch.features, batch.lengths))
        index, distances = nearest(frames, self.network.centroids)
        counts = torch.bincount(index, minlength=self.network.num_units)
        self._counts += counts
        self._distance += distances.sum()

    def on_validation_epoch_end(self) -> None:
        """Log the mean distance and the perplexity over all frames of all ranks."""
        counts, distance = sum_over_ranks(self._counts), sum_over_ranks(self._distance)
        frames = counts.sum().clamp(min=1)
        self.log(f"{self.held_out}/inertia", (distance / frames).float(), prog_bar=True)
        self.log(f"{self.held_out}/perplexity", perplexity(shares(counts).float()))


class CTCQuantizerModule(QuantizerModule):
    """Training of an MLP with a blank so that augmented audio gives the units of clean audio.

    Args:
        config: sizes of the network.
        teacher: folder of a tokenizer whose quantizer gives the units of clean features.
        clean_weight: weight of the loss on clean features; that on augmented features has weight 1.
        learning_rate: peak learning rate of AdamW.
        schedule: factor of the learning rate over steps; None for a constant rate.
        max_nonfinite_steps: number of steps in a row, skipped because their gradient is not finite, at which training
            ends.
    """

    network: MLPQuantizer

    def __init__(
        self,
        config: MLPQuantizerConfig,
        teacher: str,
        clean_weight: float = 0.5,
        learning_rate: float = 1e-3,
        schedule: Schedule | None = None,
        max_nonfinite_steps: int = 10,
    ) -> None:
        """Build the network; `setup` loads the teacher."""
        super().__init__(max_nonfinite_steps)
        self.network = MLPQuantizer(config)
        self.teacher_folder = teacher
        self.clean_weight = clean_weight
        self.means = HeldOutMeans(CTC_LOSSES)
        self.learning_rate = learning_rate
        self.schedule = schedule or Constant(warmup_steps=0)
        self._teacher: list[Quantizer] = []  # in a list, so that its weights stay out of checkpoints

    def setup(self, stage: str) -> None:
        """Load the teacher.

        Raises:
            ValueError: if it has another number of units than the network, or reads other features than the data's.
        """
        teacher = load_network(Path(self.teacher_folder) / QUANTIZER, "quantizer")
        assert isinstance(teacher, Quantizer)
        extractor = self.extractor
        if extractor is not None:
            assert isinstance(extractor, nn.Module)
            check_extractor(extractor, self.teacher_folder)
        if teacher.num_units != self.network.num_units:
            raise ValueError(
                f"config.num_units must be the teacher's {teacher.num_units}, but is {self.network.num_units} instead"
            )
        self._teacher = [teacher]

    def _losses(self, batch: FeatureBatch) -> tuple[dict[str, Tensor], int]:
        """Compute losses per target unit, their weighted sum first, and the number of target units."""
        if batch.augmented is None or batch.augmented_lengths is None:
            raise ValueError("data must have augmented features (data.augmentation), but has none instead")
        teacher = self._teacher[0]
        assert isinstance(teacher, nn.Module)
        units = teacher.to(self.device)(batch.features, batch.lengths).cpu()
        targets = [Units.from_frames(row[:n]) for row, n in zip(units, batch.lengths.tolist(), strict=True)]
        augmented = ctc_loss(self.network, batch.augmented, batch.augmented_lengths, targets)
        clean = ctc_loss(self.network, batch.features, batch.lengths, targets)
        loss = augmented + self.clean_weight * clean
        losses = dict(zip(CTC_LOSSES, (loss, augmented, clean), strict=True))
        return losses, sum(len(row.values) for row in targets)

    def training_step(self, batch: FeatureBatch, batch_idx: int) -> Tensor:
        """Compute the CTC loss on augmented and clean features."""
        losses, _ = self._losses(batch)
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, batch_size=len(batch.ids))
        return losses["loss"]

    def on_validation_epoch_start(self) -> None:
        """Discard the losses and metrics of the last validation."""
        self.means.reset(self.device)

    def validation_step(self, batch: FeatureBatch, batch_idx: int) -> None:
        """Collect the losses on held-out utterances."""
        losses, units = self._losses(batch)
        for name, loss in losses.items():
            self.means.add(name, loss, units)

    def on_validation_epoch_end(self) -> None:
        """Log the losses."""
        self.log_dict({f"{self.held_out}/{name}": value for name, value in self.means.figures().items()})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build AdamW and its learning rate schedule, which advances with each optimizer step."""
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.learning_rate)
        scheduler = LambdaLR(optimizer, schedule_within(self, self.schedule))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
