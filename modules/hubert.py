"""HuBERT pretraining: predict the cluster of masked frames (Hsu et al., 2021).

Shapes: B batch, T frames, K classes.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from spiritlm_pl.contracts.batches import WaveformBatch
from spiritlm_pl.contracts.data_modules import LabelData
from spiritlm_pl.data.batching import step_seed
from spiritlm_pl.modules.held_out import HeldOutMeans
from spiritlm_pl.modules.stage import FiniteStepsModule, data_of
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.tokenizers.hubert import (
    STAGE,
    HubertConfig,
    HubertNetwork,
    HubertPrediction,
    labels_at_frames,
    start_from,
)
from spiritlm_pl.tokenizers.kmeans import sum_over_ranks

MEANS = ("loss_masked", "accuracy_masked", "loss_unmasked", "accuracy_unmasked", "feature_penalty")


@dataclass(frozen=True, kw_only=True)
class HubertLosses:
    """Losses and counts of one batch.

    Args:
        total: loss that is minimised, a scalar.
        means: each value named in `MEANS`, with the number of frames that it is the mean of.
        predicted: sum of the probabilities of each class over frames with a label (K,).
        labels: number of frames with each label (K,).
    """

    total: Tensor
    means: dict[str, tuple[Tensor, Tensor]]
    predicted: Tensor
    labels: Tensor


class HubertModule(FiniteStepsModule):
    """Module that trains HuBERT by masked prediction of the labels of frames.

    Masks and dropout are drawn with a seed made of `seed`, step, micro-batch and rank, so that a resumed run continues
    as an uninterrupted one.

    Args:
        config: sizes of the network.
        initial: folder of the exported network of an earlier iteration to start from; None for random weights.
        masked_weight: weight of the loss on masked frames.
        unmasked_weight: weight of the loss on unmasked frames; 0 leaves them out.
        penalty_weight: weight of the mean square of the convolutions' output.
        learning_rate: peak learning rate of AdamW.
        betas: decay rates of AdamW's two moment estimates.
        weight_decay: weight decay of AdamW.
        warmup_steps: number of steps in which the learning rate grows linearly.
        decay_steps: step at which linear decay reaches 0; None for the last step of the training.
        seed: seed for masks and dropout.
        max_nonfinite_steps: number of steps in a row, skipped because their gradient is not finite, at which training
            ends.
    """

    def __init__(
        self,
        config: HubertConfig,
        initial: str | None = None,
        masked_weight: float = 1.0,
        unmasked_weight: float = 0.0,
        penalty_weight: float = 10.0,
        learning_rate: float = 5e-4,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.01,
        warmup_steps: int = 32_000,
        decay_steps: int | None = None,
        seed: int = 0,
        max_nonfinite_steps: int = 10,
    ) -> None:
        """Store the settings; `configure_model` builds the network."""
        super().__init__(max_nonfinite_steps)
        self.config = config
        self.initial = initial
        self.masked_weight, self.unmasked_weight = masked_weight, unmasked_weight
        self.penalty_weight = penalty_weight
        self.learning_rate, self.betas, self.weight_decay = learning_rate, betas, weight_decay
        self.warmup_steps, self.decay_steps = warmup_steps, decay_steps
        self.seed = seed
        self.network: HubertNetwork | None = None
        self.means = HeldOutMeans(MEANS)

    def configure_model(self) -> None:
        """Build the network, with the weights of the earlier iteration if there is one."""
        if self.network is not None:
            return
        self.network = HubertNetwork(self.config)
        if self.initial is not None:
            start_from(self.network, self.initial)

    def on_fit_start(self) -> None:
        """Check that the network has a class for every label.

        Raises:
            ValueError: if the data has more labels than the network has classes.
        """
        super().on_fit_start()
        data = data_of(self, LabelData)
        if data is not None and data.num_labels is not None and data.num_labels > self.config.num_classes:
            raise ValueError(
                f"config.num_classes must be at least the data's {data.num_labels} labels, "
                f"but is {self.config.num_classes} instead"
            )

    def on_train_batch_start(self, batch: WaveformBatch, batch_idx: int) -> None:
        """Seed masks and dropout with the step and the micro-batch within it."""
        micro_batch = batch_idx % self.trainer.accumulate_grad_batches
        torch.manual_seed(step_seed(self.seed, self.global_step, self.global_rank, micro_batch))

    def training_step(self, batch: WaveformBatch, batch_idx: int) -> Tensor:
        """Compute and log the loss of one batch."""
        losses = self._losses(batch)
        log = partial(self.log, batch_size=len(batch.ids))
        for name, (value, _) in losses.means.items():
            log(f"train/{name}", value.detach(), prog_bar=name == "accuracy_masked")
        log("train/loss", losses.total.detach(), prog_bar=True)
        log("train/perplexity_predicted", perplexity(shares(losses.predicted)))
        log("train/perplexity_labels", perplexity(shares(losses.labels)))
        return losses.total

    def on_validation_epoch_start(self) -> None:
        """Discard the losses and metrics of the last validation."""
        self.means.reset(self.device)
        self._classes = torch.zeros(2, self.config.num_classes, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: WaveformBatch, batch_idx: int) -> None:
        """Collect loss and accuracy on held-out utterances; the masks are the same at every validation."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(batch_idx)
            losses = self._losses(batch)
        for name, (value, count) in losses.means.items():
            self.means.add(name, value, count)
        self._classes += torch.stack([losses.predicted, losses.labels])

    def on_validation_epoch_end(self) -> None:
        """Log the means over all held-out frames of all ranks."""
        predicted, labels = sum_over_ranks(self._classes).float()
        found = self.means.figures()
        figures = found | {
            "loss": self._total(
                *(found.get(name, 0.0) for name in ("loss_masked", "loss_unmasked", "feature_penalty"))
            ),
            "perplexity_predicted": float(perplexity(shares(predicted))),
            "perplexity_labels": float(perplexity(shares(labels))),
        }
        for name, value in figures.items():
            self.log(f"{self.held_out}/{name}", value, prog_bar=name == "accuracy_masked")

    def _total(self, masked: Any, unmasked: Any, penalty: Any) -> Any:
        return self.masked_weight * masked + self.unmasked_weight * unmasked + self.penalty_weight * penalty

    def _losses(self, batch: WaveformBatch) -> HubertLosses:
        assert self.network is not None
        if batch.labels is None or batch.label_rate is None:
            raise ValueError("data must have labels (data.labels: folders of units), but has none instead")
        prediction: HubertPrediction = self.network(batch.waveforms, batch.lengths)
        targets = labels_at_frames(batch.labels, batch.label_rate, prediction.logits.shape[1], self.config.frame_rate)
        known = prediction.inside & (targets >= 0)
        means: dict[str, tuple[Tensor, Tensor]] = {}
        for name, chosen in (("masked", known & prediction.masked), ("unmasked", known & ~prediction.masked)):
            logits, expected, count = prediction.logits[chosen], targets[chosen], chosen.sum()
            loss = functional.cross_entropy(logits, expected, reduction="sum") / count.clamp(min=1)
            right = (logits.detach().argmax(-1) == expected).sum() / count.clamp(min=1)
            means |= {f"loss_{name}": (loss, count), f"accuracy_{name}": (right, count)}
        means["feature_penalty"] = prediction.penalty, prediction.inside.sum()
        return HubertLosses(
            total=self._total(means["loss_masked"][0], means["loss_unmasked"][0], prediction.penalty),
            means=means,
            predicted=prediction.logits[known].detach().softmax(-1).sum(0),
            labels=torch.bincount(targets[known], minlength=self.config.num_classes),
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build AdamW with warm-up and linear decay."""
        optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=self.learning_rate,
            betas=self.betas,
            eps=1e-6,
            weight_decay=self.weight_decay,
            fused=True,
        )
        decay_steps = self.trainer.estimated_stepping_batches if self.decay_steps is None else self.decay_steps
        factor = partial(trapezoid, warmup_steps=self.warmup_steps, decay_steps=decay_steps)
        schedule = LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def export(self, folder: str) -> None:
        """Write the network, from which features can be taken, to a folder."""
        assert self.network is not None
        if self.global_rank == 0:
            save_network(folder, self.network, STAGE)


def shares(sums: Tensor) -> Tensor:
    """Divide sums (K,) by their total; a total of 0 gives zeros."""
    return sums / sums.sum().clamp(min=1)


def perplexity(distribution: Tensor) -> Tensor:
    """Return the perplexity of a distribution (K,): the number of equally likely classes that are as uncertain."""
    return (-(distribution * distribution.clamp(min=1e-9).log()).sum()).exp()


def trapezoid(step: int, *, warmup_steps: int, decay_steps: float) -> float:
    """Return the factor of the learning rate: linear growth, then linear decay to 0; an endless run does not decay.

    Args:
        step: number of the optimizer step, from 0.
        warmup_steps: number of steps of linear growth.
        decay_steps: step at which the factor reaches 0; infinity for no decay.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if decay_steps == math.inf:
        return 1.0
    return max(0.0, (decay_steps - step) / max(1, decay_steps - warmup_steps))
