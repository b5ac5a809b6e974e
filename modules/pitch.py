"""Training of the pitch VQ-VAE (Spirit LM, arXiv 2402.05755, section 3.2).

The losses are those of voiced F0, of voicing, and of the commitment to the codes. The paper does not state their
weights.

Shapes: B batch, F F0 frames, T codes, D code dimension.
"""

import math
from dataclasses import fields

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.functional import pad
from torch.optim.lr_scheduler import LambdaLR

from spiritlm_pl.contracts.batches import F0Batch, within
from spiritlm_pl.contracts.data_modules import F0Data
from spiritlm_pl.f0.measures import F0Errors, f0_errors
from spiritlm_pl.lm.schedule import Constant, Schedule
from spiritlm_pl.modules.held_out import HeldOutMeans
from spiritlm_pl.modules.stage import FiniteStepsModule, data_of, schedule_within
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.tokenizers.kmeans import sum_over_ranks
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAE, PitchVQVAEConfig

STAGE = "pitch"
LOSSES = ("loss_f0", "loss_voicing", "loss_commitment")


def mean_square(values: Tensor) -> Tensor:
    """Return the mean of the squares; 0 for no values, so that a rank without a whole code keeps up with the others."""
    return values.square().sum() / max(1, values.numel())


class PitchModule(FiniteStepsModule):
    """Training of a pitch VQ-VAE.

    Args:
        config: sizes of the network.
        f0_weight: weight of the squared error of F0 over voiced frames, in units of the network's `f0_scale`.
        voicing_weight: weight of the squared error of voicing.
        commitment_weight: weight of the squared distance of latents to their codes.
        learning_rate: peak learning rate of AdamW.
        schedule: factor of the learning rate over steps; None for a constant rate.
        betas: decay rates of AdamW's two moment estimates.
        max_nonfinite_steps: number of steps in a row, skipped because their gradient is not finite, at which training
            ends.
    """

    def __init__(
        self,
        config: PitchVQVAEConfig,
        f0_weight: float = 1.0,
        voicing_weight: float = 1.0,
        commitment_weight: float = 0.02,
        learning_rate: float = 2e-4,
        schedule: Schedule | None = None,
        betas: tuple[float, float] = (0.8, 0.99),
        max_nonfinite_steps: int = 10,
    ) -> None:
        """Build the network."""
        super().__init__(max_nonfinite_steps)
        self.network = PitchVQVAE(config)
        self.f0_weight, self.voicing_weight, self.commitment_weight = f0_weight, voicing_weight, commitment_weight
        self.learning_rate, self.betas = learning_rate, betas
        self.schedule = schedule or Constant(warmup_steps=0)
        self._sums = torch.zeros(0)
        self.means = HeldOutMeans(LOSSES)

    def on_fit_start(self) -> None:
        """Check that the training crops are long enough for at least one pitch code.

        Raises:
            ValueError: if the data's crops are shorter than the frames of one code.
        """
        super().on_fit_start()
        data = data_of(self, F0Data)
        if data is not None and data.crop_frames is not None and data.crop_frames < self.network.frames_per_code:
            raise ValueError(
                f"data.crop_frames must be at least the {self.network.frames_per_code} frames of a code, "
                f"but is {data.crop_frames} instead"
            )

    def _whole_codes(self, batch: F0Batch) -> tuple[Tensor, Tensor]:
        """Return contours (B, 2, F') of whole codes, at least one, and the mask (B, F') of frames before the end."""
        size = self.network.frames_per_code
        contours = pad(batch.contours, (0, max(0, size - batch.contours.shape[-1])))
        contours = contours[..., : contours.shape[-1] // size * size]
        lengths = batch.lengths // size * size
        return contours, within(lengths, contours.shape[-1])

    def training_step(self, batch: F0Batch, batch_idx: int) -> Tensor:
        """Compute the loss of one batch, and move the codebook towards its latents."""
        contours, inside = self._whole_codes(batch)
        latents = self.network.latents(contours)
        inside_codes = inside[:, :: self.network.frames_per_code]
        found = self.network.codebook.update(latents[inside_codes])
        _, codes = self.network.codebook(latents)
        commitment = mean_square((latents - codes)[inside_codes])
        made = self.network.decode_latents(latents + (codes - latents).detach())
        f0, voicing, _ = self._errors(made, contours, inside)
        loss = self._total(f0, voicing, commitment)
        values = dict(zip(LOSSES, (f0, voicing, commitment), strict=True)) | {"loss": loss}
        named = {f"train/{name}": value.detach() for name, value in values.items()}
        self.log_dict(
            named | {f"train/codes_{name}": value for name, value in found.items()}, batch_size=len(batch.ids)
        )
        return loss

    def _errors(self, made: Tensor, contours: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the losses of F0 and of voicing, and the number of voiced frames."""
        voiced = inside & (contours[:, 1] > 0)
        f0 = mean_square(((made[:, 0] - contours[:, 0]) / self.network.config.f0_scale)[voiced])
        return f0, mean_square((made[:, 1] - contours[:, 1])[inside]), voiced.sum()

    def _total(self, f0: Tensor, voicing: Tensor, commitment: Tensor) -> Tensor:
        return self.f0_weight * f0 + self.voicing_weight * voicing + self.commitment_weight * commitment

    def on_validation_epoch_start(self) -> None:
        """Reset the sums of losses and errors, and the counts of codes."""
        self.means.reset(self.device)
        size = len(fields(F0Errors)) + self.network.cardinality
        self._sums = torch.zeros(size, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: F0Batch, batch_idx: int) -> None:
        """Collect losses, and errors of the reconstructed F0 against the original."""
        contours, inside = self._whole_codes(batch)
        latents = self.network.latents(contours)
        index, codes = self.network.codebook(latents)
        inside_codes = inside[:, :: self.network.frames_per_code]
        commitment = mean_square((latents - codes)[inside_codes])
        made = self.network.decode_latents(codes)
        f0, voicing, voiced = self._errors(made, contours, inside)
        losses = (f0, voiced), (voicing, inside.sum()), (commitment, inside_codes.sum())
        for name, (loss, count) in zip(LOSSES, losses, strict=True):
            self.means.add(name, loss, count)
        errors = f0_errors(
            made[:, 0] + batch.means[:, None],
            made[:, 1] > 0.5,
            contours[:, 0] + batch.means[:, None],
            contours[:, 1] > 0,
            inside,
        )
        counts = torch.bincount(index[inside_codes], minlength=self.network.cardinality)
        self._sums += torch.cat([errors.sums(), counts.double()])

    def on_validation_epoch_end(self) -> None:
        """Log losses, errors and use of the codebook over all ranks."""
        sums, counts = sum_over_ranks(self._sums).split([len(fields(F0Errors)), self.network.cardinality])
        shares = counts / counts.sum().clamp(min=1)
        entropy = torch.special.entr(shares).sum() / math.log(2)
        figures = F0Errors.from_sums(sums).figures()
        losses = self.means.figures()
        parts = (torch.tensor(losses.get(name, 0.0)) for name in LOSSES)
        figures |= {**losses, "loss": float(self._total(*parts))}
        figures |= {"codes_used": float((counts > 0).double().mean()), "codes_entropy": float(entropy)}
        self.log_dict({f"{self.held_out}/{name}": value for name, value in figures.items()})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build AdamW and its learning rate schedule, which advances with each optimizer step."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, betas=self.betas)
        scheduler = LambdaLR(optimizer, schedule_within(self, self.schedule))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def export(self, folder: str) -> None:
        """Write the network to a folder."""
        if self.global_rank == 0:
            save_network(folder, self.network, STAGE)
