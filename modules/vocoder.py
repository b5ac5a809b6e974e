"""Training of a unit vocoder: reconstruction, least-squares GAN with feature matching, and durations (HiFi-GAN).

A GAN has two optimizers, which DeepSpeed strategies do not accept. Train under DDP (`ddp_find_unused_parameters_true`,
since each backward pass reaches only one of generator and discriminators).

Shapes: B batch, T frames, S = T * hop_length samples, R runs of equal units.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from spiritlm_pl.contracts.batches import UnitWaveformBatch
from spiritlm_pl.contracts.data_modules import UnitWaveformData
from spiritlm_pl.data.batching import step_seed
from spiritlm_pl.f0.yin import f0_differences
from spiritlm_pl.modules.held_out import HeldOutMeans
from spiritlm_pl.modules.stage import FiniteStepsModule, data_of
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.vocoder.discriminators import Discriminator
from spiritlm_pl.vocoder.duration import collapse, duration_loss, durations_from_log
from spiritlm_pl.vocoder.losses import DiscriminatorOutput, adversarial_loss, discriminator_loss, feature_matching_loss
from spiritlm_pl.vocoder.mel import MelLoss, MultiResolutionSTFTLoss
from spiritlm_pl.vocoder.schedule import OneCycle
from spiritlm_pl.vocoder.vocoder import Vocoder
from spiritlm_pl.vocoder.warm_start import TOKENIZER_SHA256, other_tokenizer, start_from, with_voices

MOST_NAMES = 5  # voices that a message lists
METRICS = ("mel_distance", "f0_error_semitones", "voicing_error", "duration_error_ms")


class VocoderModule(FiniteStepsModule):
    """Training of a vocoder. `trainer.global_step` counts batches; steps of the discriminators are not counted.

    Crops and dropout are drawn with a seed made of `seed`, step and rank, so that a resumed run continues as an
    uninterrupted one.

    Args:
        network: vocoder that is trained; its class chooses the generator. None for that of `initial`, with the one
            voice of the data in place of its own.
        discriminators: discriminators, any number; without any, training is by reconstruction alone.
        generator_optimizer: makes the optimizer of the vocoder from its parameters.
        discriminator_optimizer: makes the optimizer of the discriminators from their parameters.
        generator_scheduler: makes the learning rate schedule of the vocoder, or a cycle as long as the training; None
            for a constant rate.
        discriminator_scheduler: makes the schedule of the discriminators, which advances only while they train; None
            for a constant rate.
        scheduler_interval: whether the schedules advance with each "step" or each "epoch".
        initial: folder of an exported vocoder to start from, of the same generator and units; None for random weights.
        initial_speaker: voice of `initial` as which a new voice begins, by its name. None for the default voice
            without a `network`, and for the mean of all with one.
        mel_weight: weight of the L1 distance of log-mel spectrograms.
        stft_weight: weight of the multi-resolution STFT loss; 0 leaves it out.
        stft_sizes: frame sizes of that loss in samples.
        adversarial_weight: weight of the generator's adversarial loss.
        feature_matching_weight: weight of the distance between the discriminators' activations.
        duration_weight: weight of the duration predictor's loss.
        adversarial_start: step at which the discriminators begin to train; a value below 1 is the share of the training
            before that step.
        discriminator_frames: number of unit frames, at a random place of a segment, that the discriminators see; None
            for the whole segment.
        gradient_clip: largest norm of the gradient of the vocoder, and of that of the discriminators.
        ema_decay: decay of the exponential average of weights that is used for validation and export; None for no
            average.
        max_nonfinite_steps: number of steps in a row, skipped because a gradient is not finite, at which training ends.
        seed: seed for crops and dropout.
    """

    def __init__(
        self,
        network: Vocoder | None,
        discriminators: Sequence[Discriminator],
        generator_optimizer: OptimizerCallable,
        discriminator_optimizer: OptimizerCallable,
        generator_scheduler: OneCycle | LRSchedulerCallable | None = None,  # in another order, a run does not record it
        discriminator_scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["step", "epoch"] = "epoch",
        initial: str | None = None,
        initial_speaker: str | None = None,
        mel_weight: float = 45.0,
        stft_weight: float = 0.0,
        stft_sizes: tuple[int, ...] = (512, 1024, 2048),
        adversarial_weight: float = 1.0,
        feature_matching_weight: float = 2.0,
        duration_weight: float = 1.0,
        adversarial_start: int | float = 0,
        discriminator_frames: int | None = None,
        gradient_clip: float = 1000.0,
        ema_decay: float | None = None,
        max_nonfinite_steps: int = 10,
        seed: int = 0,
    ) -> None:
        """Store networks, weights, and makers of optimizers and schedules."""
        super().__init__(max_nonfinite_steps)
        if ema_decay is not None and not 0 < ema_decay < 1:
            raise ValueError(f"ema_decay must be in (0, 1), but is {ema_decay} instead")
        if adversarial_start < 0 or (adversarial_start >= 1 and adversarial_start % 1):
            raise ValueError(f"adversarial_start must be a step or a share below 1, but is {adversarial_start} instead")
        if isinstance(generator_scheduler, OneCycle) and scheduler_interval != "step":
            raise ValueError(f"scheduler_interval of OneCycle must be 'step', but is {scheduler_interval!r} instead")
        if network is None and initial is None:
            raise ValueError("network or initial must be given, but both are None")
        self.automatic_optimization = False
        self.network: Vocoder
        self.initial, self.initial_speaker, self._named = initial, initial_speaker, network is not None
        self.discriminators = nn.ModuleList(discriminators)
        self.ema_decay = ema_decay
        self.average: AveragedModel | None = None
        self.mel_loss: MelLoss
        if network is not None:
            self._train(network)
        self.stft_loss = MultiResolutionSTFTLoss(stft_sizes) if stft_weight else None
        self.optimizer_factories = (generator_optimizer, discriminator_optimizer)
        self.scheduler_factories = (generator_scheduler, discriminator_scheduler)
        self.scheduler_interval = scheduler_interval
        self.mel_weight, self.stft_weight = mel_weight, stft_weight
        self.adversarial_weight, self.feature_matching_weight = adversarial_weight, feature_matching_weight
        self.duration_weight = duration_weight
        self.adversarial_start = adversarial_start
        self.first_adversarial_step = 0  # set by `configure_optimizers`
        self.discriminator_frames = discriminator_frames
        self.gradient_clip = gradient_clip
        self.seed = seed
        self.means = HeldOutMeans(METRICS)
        self.tokenizer_sha256: str | None = None  # of the tokenizer that made the units, where the data knows it

    def _train(self, network: Vocoder) -> None:
        """Make a vocoder the one that is trained."""
        self.network = network
        self.mel_loss = MelLoss(network.sample_rate)
        if self.ema_decay is not None:
            average = get_ema_multi_avg_fn(self.ema_decay)
            self.average = AveragedModel(network, multi_avg_fn=average).requires_grad_(False)

    @property
    def best_network(self) -> Vocoder:
        """The averaged network if there is one, else the network itself."""
        network = self.network if self.average is None else self.average.module
        assert isinstance(network, Vocoder)
        return network

    def setup(self, stage: str) -> None:
        """Check precision and data, and take the weights of the initial vocoder.

        The most frequent pitch and style code of the data become the defaults of an expressive vocoder.

        Raises:
            ValueError: if precision, data or the initial vocoder do not fit.
        """
        if self.trainer.precision.startswith("16"):
            raise ValueError(f"precision must be 32-true or bf16-mixed, but is {self.trainer.precision} instead")
        data = data_of(self, UnitWaveformData)
        if not hasattr(self, "network"):
            self._train(self.start().train())
        if data is not None:
            self.tokenizer_sha256 = getattr(data, TOKENIZER_SHA256, None)
            styles = data.styles if self._named else None
            self.network.config.check_data(data.speakers, styles, data.layout)
        if data is not None and self.network.expressive and data.common_codes is not None:
            pitch, style = data.common_codes
            for network in (self.network, self.best_network):
                network.config = replace(network.config, default_pitch=pitch, default_style=style)
        if stage == "fit" and self._named and self.initial is not None:  # a checkpoint to go on from is read later
            start_from(self.network, self.initial, self.initial_speaker)
            self.best_network.load_state_dict(self.network.state_dict())
        if stage == "fit" and self.initial is not None:
            told = other_tokenizer(self.initial, self.tokenizer_sha256)
            if told is not None:
                rank_zero_warn(told)

    def start(self) -> Vocoder:
        """Return the vocoder of `initial` with the voice of the data, as it is before training.

        Raises:
            ValueError: if there is no `initial`, no data, or not one voice in the data.
        """
        data = data_of(self, UnitWaveformData)
        if self.initial is None or data is None or data.speakers is None:
            raise ValueError("initial and data must be given for another voice, but one of them is missing")
        if len(data.speakers) != 1:
            names = ", ".join(data.speakers[:MOST_NAMES]) + (", ..." if len(data.speakers) > MOST_NAMES else "")
            raise ValueError(
                f"data must be of one speaker without a network, but is of {len(data.speakers)} ({names}) instead: "
                "make a corpus of each speaker, or give a network with all voices"
            )
        if data.styles:
            raise ValueError(f"styles of the data must be left out without a network, but are {list(data.styles)}")
        return with_voices(self.initial, data.speakers, self.initial_speaker)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build an optimizer, and a schedule if one is given, for the vocoder and for the discriminators.

        Raises:
            ValueError: if a one-cycle schedule ends before the training does, or a setting depends on the length of the
                training and that has none.
        """
        halves = [self.network, self.discriminators] if len(self.discriminators) else [self.network]
        optimizers = [make(half.parameters()) for half, make in zip(halves, self.optimizer_factories, strict=False)]
        schedulers = [
            self._schedule(make, optimizer)
            for make, optimizer in zip(self.scheduler_factories, optimizers, strict=False)
            if make is not None
        ]
        for scheduler in schedulers:
            if isinstance(scheduler, OneCycleLR) and scheduler.total_steps < self.trainer.max_steps:
                raise ValueError(
                    f"total_steps of OneCycleLR must be at least trainer.max_steps {self.trainer.max_steps}, "
                    f"but is {scheduler.total_steps} instead"
                )
        start = self.adversarial_start
        self.first_adversarial_step = round(start * self._total_steps()) if 0 < start < 1 else int(start)
        return optimizers, schedulers

    def _schedule(self, make: LRSchedulerCallable | OneCycle, optimizer: Optimizer) -> Any:
        if isinstance(make, OneCycle):
            return LambdaLR(optimizer, partial(make.factor, total_steps=self._total_steps()))
        return make(optimizer)

    def _total_steps(self) -> int:
        total = self.trainer.estimated_stepping_batches
        if not 0 < total < math.inf:
            raise ValueError(f"trainer.max_steps must be set for this module, but is {self.trainer.max_steps} instead")
        return int(total)

    def on_train_batch_start(self, batch: UnitWaveformBatch, batch_idx: int) -> None:
        """Seed crops and dropout with the step."""
        torch.manual_seed(step_seed(self.seed, self.global_step, self.global_rank))

    def training_step(self, batch: UnitWaveformBatch, batch_idx: int) -> None:
        """Take a step of the discriminators, once these have begun, and one of the vocoder, from the same weights."""
        real = batch.waveforms
        made = self._speak(self.network, batch)
        losses = {"mel": self.mel_loss(made, real), "duration": self._duration_loss(batch)}
        total = self.mel_weight * losses["mel"] + self.duration_weight * losses["duration"]
        if self.stft_loss is not None:
            losses["stft"] = self.stft_loss(made, real)
            total = total + self.stft_weight * losses["stft"]
        adversarial = len(self.discriminators) > 0 and self.global_step >= self.first_adversarial_step
        generator_optimizer, *rest = self._optimizers()
        norms: list[Tensor] = []
        if adversarial:
            start, end = self._crop(batch.units.shape[1])
            seen = made[:, start:end].detach().requires_grad_()
            real_outputs, made_outputs = self._discriminate(real[:, start:end]), self._discriminate(seen)
            losses["adversarial"] = adversarial_loss(made_outputs)
            losses["feature_matching"] = feature_matching_loss(real_outputs, made_outputs)
            fooling = self.adversarial_weight * losses["adversarial"]
            fooling = fooling + self.feature_matching_weight * losses["feature_matching"]
            # Both halves learn from one pass of the discriminators, at the weights that they have before this step.
            (gradient,) = torch.autograd.grad(fooling, seen, retain_graph=True)
            losses["discriminator"] = discriminator_loss(real_outputs, made_outputs)
            norms += [self._descend(rest[0], losses["discriminator"], self.discriminators, counted=False)]
            passed_on = (made[:, start:end] * gradient).sum()
            total = total + passed_on + (fooling - passed_on).detach()  # the value of `fooling`, and its gradient
        norms += [self._descend(generator_optimizer, total, self.network, counted=True)]
        if self.average is not None:
            self.average.update_parameters(self.network)
        if self.scheduler_interval == "step":
            self._step_schedulers(adversarial)
        self.log_dict({f"train/loss_{name}": value.detach() for name, value in losses.items()})
        self.log_dict({"train/loss": total.detach(), "train/gradient_norm": norms[-1]}, prog_bar=True)
        self.count_step(not all(bool(norm.isfinite()) for norm in norms))

    def on_train_epoch_end(self) -> None:
        """Advance the schedules that go by epochs."""
        if self.scheduler_interval == "epoch":
            self._step_schedulers(self.global_step >= self.first_adversarial_step)

    def on_validation_epoch_start(self) -> None:
        """Discard the losses and metrics of the last validation."""
        self.means.reset(self.device)

    def validation_step(self, batch: UnitWaveformBatch, batch_idx: int) -> None:
        """Collect distances between held-out segments and their resynthesis, and errors of predicted durations."""
        network = self.best_network
        made = self._speak(network, batch)
        values, durations, mask = collapse(batch.units, batch.lengths, batch.durations)
        predicted = durations_from_log(network.predict_log_durations(values, mask))
        frames_off = (predicted - durations).abs()[durations > 0].float().mean()
        milliseconds = frames_off * 1000 * network.hop_length / network.sample_rate
        self.means.add("duration_error_ms", milliseconds, (durations > 0).sum())
        samples = batch.lengths * network.hop_length
        semitones, voicing = f0_differences(made, batch.waveforms, network.sample_rate, samples)
        mels = self.mel_loss.differences(made, batch.waveforms, samples)
        measured = {"mel_distance": mels, "f0_error_semitones": semitones, "voicing_error": voicing}
        for name, values in measured.items():
            self.means.add(name, values.mean(), len(values))

    def on_validation_epoch_end(self) -> None:
        """Log the means of the losses and errors over the validation data of all ranks."""
        for name, value in self.means.figures().items():
            self.log(f"{self.held_out}/{name}", value, prog_bar=name == "mel_distance")

    def export(self, folder: str) -> None:
        """Write the vocoder, averaged if there is an average, for `load_network(folder, "vocoder")`."""
        if self.global_rank == 0:
            made_of = {} if self.tokenizer_sha256 is None else {TOKENIZER_SHA256: self.tokenizer_sha256}
            save_network(folder, self.best_network, "vocoder", extra={"steps": self.global_step, **made_of})

    def _optimizers(self) -> list[Any]:
        optimizers = self.optimizers()
        return list(optimizers) if isinstance(optimizers, list) else [optimizers]

    def _speak(self, network: Vocoder, batch: UnitWaveformBatch) -> Tensor:
        """Generate waveforms (B, S), silent after the end of each segment, as the originals are."""
        waveforms = network(batch.units, batch.speakers, batch.pitches, batch.styles, batch.global_styles)
        position = torch.arange(waveforms.shape[1], device=waveforms.device)
        return waveforms * (position < batch.lengths[:, None] * network.hop_length)

    def _duration_loss(self, batch: UnitWaveformBatch) -> Tensor:
        values, durations, mask = collapse(batch.units, batch.lengths, batch.durations)
        return duration_loss(self.network.predict_log_durations(values, mask), durations)

    def _discriminate(self, waveforms: Tensor) -> list[DiscriminatorOutput]:
        return [output for discriminator in self.discriminators for output in discriminator(waveforms)]

    def _crop(self, num_frames: int) -> tuple[int, int]:
        """Choose the part that the discriminators see; return its first and end sample."""
        length = min(self.discriminator_frames or num_frames, num_frames)
        first = int(torch.randint(num_frames - length + 1, ()))
        return first * self.network.hop_length, (first + length) * self.network.hop_length

    def _descend(self, optimizer: Any, loss: Tensor, half: nn.Module, counted: bool) -> Tensor:
        """Take one step of vocoder or discriminators, without effect if the gradient is not finite; return its norm."""
        optimizer.zero_grad()
        self.manual_backward(loss, inputs=list(half.parameters()))
        norm = torch.nn.utils.clip_grad_norm_(half.parameters(), self.gradient_clip)
        if not torch.isfinite(norm):
            optimizer.zero_grad()  # without gradients the step changes no weight, but is counted
        (optimizer if counted else optimizer.optimizer).step()
        return norm

    def _step_schedulers(self, adversarial: bool) -> None:
        """Advance the schedule of the vocoder, and that of the discriminators if they train."""
        schedulers: Any = self.lr_schedulers() or []  # declared for schedulers that need a metric, too
        for half, scheduler in zip(
            (half for half, make in enumerate(self.scheduler_factories) if make is not None),
            schedulers if isinstance(schedulers, list) else [schedulers],
            strict=False,  # discriminators may be missing, and so their schedule
        ):
            if half == 0 or adversarial:
                scheduler.step()
