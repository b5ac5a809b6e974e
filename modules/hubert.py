"""HuBERT pretraining: predict the cluster of hidden frames (Hsu et al., 2021).

Shapes: B batch, T frames, K classes.
"""

import math
from functools import partial

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from spiritlm_pl.batches import WaveformBatch
from spiritlm_pl.checkpoint import save_network
from spiritlm_pl.modules.stage import StageModule
from spiritlm_pl.speech.batching import step_seed
from spiritlm_pl.speech.hubert import STAGE, HubertConfig, HubertNetwork, HubertPrediction, labels_at_frames, start_from


class HubertModule(StageModule):
    """Masked prediction with weights for hidden and visible frames.

    Masks and dropout are drawn from a seed made of `seed`, step, micro-batch and rank, so that a resumed run
    goes on as an uninterrupted one.

    Args:
        config: size and layout of the network.
        initial: exported network of an earlier iteration to start from; None for random weights.
        masked_weight: of the loss on hidden frames.
        unmasked_weight: of the loss on visible frames.
        penalty_weight: of the mean square of the convolutions' output.
        learning_rate: highest learning rate of AdamW.
        betas: of AdamW.
        weight_decay: of AdamW.
        warmup_steps: steps of linear growth of the learning rate.
        decay_steps: step at which linear decay reaches zero; None: the last one of the training.
        seed: of masks and dropout.
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
    ) -> None:
        """Keep the settings; the network is built in `configure_model`."""
        super().__init__()
        self.config = config
        self.initial = initial
        self.masked_weight, self.unmasked_weight = masked_weight, unmasked_weight
        self.penalty_weight = penalty_weight
        self.learning_rate, self.betas, self.weight_decay = learning_rate, betas, weight_decay
        self.warmup_steps, self.decay_steps = warmup_steps, decay_steps
        self.seed = seed
        self.network: HubertNetwork | None = None

    def configure_model(self) -> None:
        """Build the network, with the weights of the earlier iteration if there is one."""
        if self.network is not None:
            return
        self.network = HubertNetwork(self.config)
        if self.initial is not None:
            start_from(self.network, self.initial)

    def on_fit_start(self) -> None:
        """Check that the labels are classes of the network.

        Raises:
            ValueError: if the data has more labels than the network has classes.
        """
        super().on_fit_start()
        num_labels = getattr(getattr(self.trainer, "datamodule", None), "num_labels", None)
        if num_labels is not None and num_labels > self.config.num_classes:
            raise ValueError(
                f"config.num_classes must be at least the data's {num_labels} labels, "
                f"but is {self.config.num_classes} instead"
            )

    def on_train_batch_start(self, batch: WaveformBatch, batch_idx: int) -> None:
        """Draw masks and dropout from the step and the micro-batch in it."""
        micro_batch = batch_idx % self.trainer.accumulate_grad_batches
        torch.manual_seed(step_seed(self.seed, self.global_step, self.global_rank, micro_batch))

    def training_step(self, batch: WaveformBatch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: WaveformBatch, batch_idx: int) -> None:
        """Loss and accuracy on held-out utterances; the masks are the same at every visit."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(batch_idx)
            self._step(batch, self.held_out)

    def _step(self, batch: WaveformBatch, stage: str) -> Tensor:
        assert self.network is not None
        if batch.labels is None or batch.label_rate is None:
            raise ValueError("data must have labels (data.labels: folders of units), but has none instead")
        prediction: HubertPrediction = self.network(batch.waveforms, batch.lengths)
        targets = labels_at_frames(batch.labels, batch.label_rate, prediction.logits.shape[1], self.config.frame_rate)
        known = prediction.inside & (targets >= 0)
        log = partial(self.log, batch_size=len(batch.ids), sync_dist=stage != "train")
        total = self.penalty_weight * prediction.penalty
        for name, chosen, weight in (
            ("masked", known & prediction.masked, self.masked_weight),
            ("unmasked", known & ~prediction.masked, self.unmasked_weight),
        ):
            logits, expected = prediction.logits[chosen], targets[chosen]
            loss = functional.cross_entropy(logits, expected, reduction="sum") / chosen.sum().clamp(min=1)
            total = total + weight * loss
            accuracy = (logits.detach().argmax(-1) == expected).sum() / chosen.sum().clamp(min=1)
            log(f"{stage}/loss_{name}", loss.detach())
            log(f"{stage}/accuracy_{name}", accuracy, prog_bar=name == "masked")
        log(f"{stage}/loss", total.detach(), prog_bar=stage == "train")
        log(f"{stage}/feature_penalty", prediction.penalty.detach())
        with torch.no_grad():
            mean = prediction.logits[known].softmax(-1).mean(0)
            log(f"{stage}/perplexity_predicted", perplexity(mean))
            counts = torch.bincount(targets[known], minlength=self.config.num_classes)
            log(f"{stage}/perplexity_labels", perplexity(counts / counts.sum().clamp(min=1)))
        return total

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and linear decay."""
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.learning_rate, betas=self.betas, eps=1e-6, weight_decay=self.weight_decay
        )
        decay_steps = self.trainer.estimated_stepping_batches if self.decay_steps is None else self.decay_steps
        factor = partial(trapezoid, warmup_steps=self.warmup_steps, decay_steps=decay_steps)
        schedule = LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def export(self, folder: str) -> None:
        """Write the network, from which features are taken."""
        assert self.network is not None
        if self.global_rank == 0:
            save_network(folder, self.network, STAGE)


def perplexity(distribution: Tensor) -> Tensor:
    """Number of equally likely classes (K,) that would be as uncertain."""
    return (-(distribution * distribution.clamp(min=1e-9).log()).sum()).exp()


def trapezoid(step: int, *, warmup_steps: int, decay_steps: float) -> float:
    """Factor on the learning rate: linear growth, then linear decay to zero; an endless run does not decay."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if decay_steps == math.inf:
        return 1.0
    return max(0.0, (decay_steps - step) / max(1, decay_steps - warmup_steps))
