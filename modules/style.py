"""Training of style encoders, which tell expressive styles apart but not speakers, and of style tokenizers.

The method is Spirit LM's (arXiv 2402.05755, section 3.2, and model card). `StyleModule` fine-tunes a speech encoder on
style labels. K-means over its averages (`KMeansModule`) gives the codes. `StyleCodeModule` trains the kind of tokenizer
that was released, an encoder with a classifier, to give the same codes.

Shapes: B batch, S samples, Y seconds, D feature dimension, L labels, K codes.
"""

import math
from typing import Any, Literal, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spiritlm_pl.contracts.batches import UNKNOWN, LabelledBatch, within
from spiritlm_pl.contracts.data_modules import LabelledData
from spiritlm_pl.contracts.speech_tokenizer import FeatureExtractor
from spiritlm_pl.data.batching import step_seed
from spiritlm_pl.modules.stage import FiniteStepsModule, check_sample_rate, data_of
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.tokenizers.kmeans import sum_over_ranks
from spiritlm_pl.tokenizers.mlp_quantizer import LinearQuantizer, LinearQuantizerConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.tokenizers.style import STAGE, EncoderSource, StyleEncoder


def reverse_gradient(values: Tensor, scale: float) -> Tensor:
    """Return the same values, with their gradient reversed and scaled (Ganin and Lempitsky, 2015)."""
    return (1 + scale) * values.detach() - scale * values


class TunedEncoderModule(FiniteStepsModule):
    """Base class of both modules: an encoder with a learning rate of its own, and seeds."""

    network: StyleEncoder

    def __init__(
        self,
        encoder_learning_rate: float,
        learning_rate: float,
        betas: tuple[float, float],
        seed: int,
        max_nonfinite_steps: int,
    ) -> None:
        """Store the settings."""
        super().__init__(max_nonfinite_steps)
        self.encoder_learning_rate, self.learning_rate, self.betas = encoder_learning_rate, learning_rate, betas
        self.seed = seed

    def on_train_batch_start(self, batch: LabelledBatch, batch_idx: int) -> None:
        """Seed dropout with the step, so that a resumed run continues as an uninterrupted one."""
        micro_batch = batch_idx % self.trainer.accumulate_grad_batches
        torch.manual_seed(step_seed(self.seed, self.global_step, self.global_rank, micro_batch))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build AdamW, with a lower learning rate for the pretrained encoder."""
        encoder = [weight for weight in self.network.encoder.parameters() if weight.requires_grad]
        known = {id(weight) for weight in encoder}
        rest = [weight for weight in self.parameters() if weight.requires_grad and id(weight) not in known]
        groups: list[dict[str, Any]] = [{"params": rest}]
        if encoder:
            groups.append({"params": encoder, "lr": self.encoder_learning_rate})
        return torch.optim.AdamW(groups, lr=self.learning_rate, betas=self.betas)


class StyleModule(TunedEncoderModule):
    """Fine-tuning of an encoder to tell styles apart, or speakers, as a classifier for resynthesis needs.

    A second head predicts the speaker from the features. With an adversarial weight, its reversed gradient removes the
    speaker from them; the accuracy of the head then tells how much of the speaker is left.

    Args:
        encoder: source of the pretrained encoder: a layer of a HuBERT, a network of `transformers` or torchaudio, or
            prosody alone, or MFCCs.
        target: attribute of utterances that is predicted, "style" or "speaker".
        projection_dim: size of the output of a linear layer after the encoder; 0 leaves the layer out.
        whole: whether to learn from averages over whole utterances, as a classifier of utterances needs, instead of
            from every second.
        balanced: whether to weight labels so that rare ones count as much as frequent ones.
        adversarial_weight: factor of the speaker head's reversed gradient; with 0 the head does not influence the
            encoder.
        encoder_learning_rate: learning rate of AdamW for the encoder.
        learning_rate: learning rate of AdamW for the layers after the encoder.
        betas: decay rates of AdamW's two moment estimates.
        seed: seed for drawing dropout.
        max_nonfinite_steps: number of steps in a row, skipped because their gradient is not finite, at which training
            ends.
    """

    def __init__(
        self,
        encoder: EncoderSource,
        target: Literal["style", "speaker"] = "style",
        projection_dim: int = 0,
        whole: bool = False,
        balanced: bool = True,
        adversarial_weight: float = 0.0,
        encoder_learning_rate: float = 1e-4,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.98),
        seed: int = 0,
        max_nonfinite_steps: int = 10,
    ) -> None:
        """Store the settings; `configure_model` builds the network once the labels are known."""
        super().__init__(encoder_learning_rate, learning_rate, betas, seed, max_nonfinite_steps)
        if adversarial_weight < 0:
            raise ValueError(f"adversarial_weight must be at least 0, but is {adversarial_weight} instead")
        if adversarial_weight and target == "speaker":
            raise ValueError(f"adversarial_weight must be 0 where the target is speaker, but is {adversarial_weight}")
        self.source, self.target, self.projection_dim = encoder, target, projection_dim
        self.whole, self.balanced, self.adversarial_weight = whole, balanced, adversarial_weight
        self._weights: Tensor | None = None  # weights of the labels
        self._sums = torch.zeros(0)

    def configure_model(self) -> None:
        """Build the network for the labels of the data.

        Raises:
            ValueError: if there are fewer than two, or the data is of another sample rate than the encoder.
        """
        if hasattr(self, "network"):
            return
        data = data_of(self, LabelledData)
        styles, speakers = ((), ()) if data is None else (data.styles, data.speakers)
        labels = styles if self.target == "style" else speakers
        if len(labels) < 2:
            raise ValueError(f"data must have at least two {self.target}s to tell apart, but has {list(labels)}")
        if self.adversarial_weight and len(speakers) < 2:
            raise ValueError(f"adversarial_weight must be 0 with one speaker, but is {self.adversarial_weight} instead")
        self.network = StyleEncoder.on(
            self.source.build(), projection_dim=self.projection_dim, labels=labels, target=self.target
        )
        check_sample_rate(self, self.network.sample_rate)
        self.network.train()  # what was loaded for inference is tuned here
        self.speaker_head = nn.Linear(self.network.feature_dim, max(1, len(speakers)))
        counts = () if data is None else data.style_counts if self.target == "style" else data.speaker_counts
        if self.balanced and counts:
            self._weights = sum(counts) / len(counts) / torch.tensor(counts, dtype=torch.float32)

    def _scores(self, batch: LabelledBatch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Compute scores of labels and of speakers, of seconds (B, Y, L) and utterances (B, L), and the mask (B, Y).

        Returns:
            Scores of labels and of speakers for each second, the same for each utterance, and the mask of seconds
            before the end of their utterance.
        """
        features, counts = self.network(batch.waveforms, batch.lengths)
        whole = self.network.utterances(features, counts)
        probed = reverse_gradient(features, self.adversarial_weight)
        inside = within(counts, features.shape[1])
        classify, read_speaker = self.network.classify, self.speaker_head
        return classify(features), read_speaker(probed), classify(whole), read_speaker(whole), inside

    def training_step(self, batch: LabelledBatch, batch_idx: int) -> Tensor:
        """Compute the loss of predicting the label of each second or utterance, plus the loss of the speaker head."""
        targets = batch.styles if self.target == "style" else batch.speakers
        scores, speakers, whole, _, inside = self._scores(batch)
        if self.whole:
            loss = second_loss(whole[:, None], targets, inside[:, :1], self._weights)
        else:
            loss = second_loss(scores, targets, inside, self._weights)
        speaker_loss = second_loss(speakers, batch.speakers, inside)
        right = (whole.argmax(-1) == targets).float().mean()
        values = {"loss": loss, "loss_speaker": speaker_loss, f"accuracy_{self.target}": right}
        named = {f"train/{name}": value.detach() for name, value in values.items()}
        self.log_dict(named, batch_size=len(batch.ids), prog_bar=True)
        return loss + speaker_loss

    def on_validation_epoch_start(self) -> None:
        """Start new counts."""
        size = 2 * len(self.network.config.labels) + 1 + self.speaker_head.out_features
        self._sums = torch.zeros(size, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: LabelledBatch, batch_idx: int) -> None:
        """Count the crops whose label is predicted right, and those whose speaker the second head predicts right."""
        targets = batch.styles if self.target == "style" else batch.speakers
        _, _, whole, speakers, _ = self._scores(batch)
        size = len(self.network.config.labels)
        known = targets != UNKNOWN
        right = known & (whole.argmax(-1) == targets)
        counts = [torch.bincount(targets[chosen], minlength=size) for chosen in (right, known)]
        told = hits(speakers, batch.speakers)[0]
        there = batch.speakers[batch.speakers != UNKNOWN]
        counts += [told[None], torch.bincount(there, minlength=self.speaker_head.out_features)]
        self._sums += torch.cat(counts)

    def on_validation_epoch_end(self) -> None:
        """Log accuracies over all ranks; the balanced accuracy is the mean of those of each label.

        Beside the accuracy of speakers, the share of the most frequent speaker is logged, which is the accuracy of
        always naming that one. A metric without any labelled held-out utterance is left out.
        """
        size = len(self.network.config.labels)
        right, known, told, speakers = sum_over_ranks(self._sums).split([size, size, 1, self.speaker_head.out_features])
        heard = known > 0
        figures = {}
        if heard.any():
            figures[f"accuracy_{self.target}"] = float(right.sum() / known.sum())
            figures[f"balanced_accuracy_{self.target}"] = float((right[heard] / known[heard]).mean())
        if self.target != "speaker" and speakers.any():
            figures["accuracy_speaker"] = float(told / speakers.sum())
            figures["commonest_speaker"] = float(speakers.max() / speakers.sum())
        self.log_dict({f"{self.held_out}/{name}": value for name, value in figures.items()}, prog_bar=True)

    def export(self, folder: str) -> None:
        """Write the encoder with its classifier to a folder."""
        if self.global_rank == 0:
            save_network(folder, self.network, STAGE)


def second_loss(scores: Tensor, targets: Tensor, inside: Tensor, weights: Tensor | None = None) -> Tensor:
    """Compute the cross entropy over the seconds of utterances.

    Args:
        scores: scores of the labels for each second (B, Y, L).
        targets: label of each utterance (B,), -1 where unknown.
        inside: mask of the seconds before the end of each utterance (B, Y).
        weights: weight of each label (L,), 1 on average over utterances; None for equal weights.
    """
    wanted = torch.where(inside, targets[:, None], UNKNOWN).flatten()
    weights = None if weights is None else weights.to(scores.device)
    flat = scores.flatten(0, 1).float()
    total = cross_entropy(flat, wanted, weights, ignore_index=UNKNOWN, reduction="sum")
    return total / (wanted != UNKNOWN).sum().clamp(min=1)


def hits(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Count the known targets (B,) that have the best score of (B, L), and all known targets."""
    known = targets != UNKNOWN
    return ((scores.argmax(-1) == targets) & known).sum().double(), known.sum().double()


class StyleCodeModule(TunedEncoderModule):
    """Training of an encoder with a classifier to give the style codes of a teacher.

    Args:
        encoder: source of the pretrained encoder: a layer of a HuBERT, a network of `transformers` or torchaudio, the
            encoder of a trained style encoder, or MFCCs.
        teacher: folder of the tokenizer whose codes are learnt, one code per second.
        projection_dim: size of the output of a linear layer after the encoder; 0 leaves the layer out.
        encoder_learning_rate: learning rate of AdamW for the encoder.
        learning_rate: learning rate of AdamW for the layers after the encoder.
        betas: decay rates of AdamW's two moment estimates.
        seed: seed for drawing dropout.
        max_nonfinite_steps: number of steps in a row, skipped because their gradient is not finite, at which training
            ends.
    """

    def __init__(
        self,
        encoder: EncoderSource,
        teacher: str,
        projection_dim: int = 256,
        encoder_learning_rate: float = 1e-4,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.98),
        seed: int = 0,
        max_nonfinite_steps: int = 10,
    ) -> None:
        """Store the settings; `configure_model` builds the network and loads the teacher."""
        super().__init__(encoder_learning_rate, learning_rate, betas, seed, max_nonfinite_steps)
        self.source, self.teacher_folder, self.projection_dim = encoder, teacher, projection_dim
        self._teacher: list[PhoneticTokenizer] = []  # in a list, so that its weights stay out of checkpoints
        self._counts: dict[str, Tensor] = {}

    def configure_model(self) -> None:
        """Read the teacher, build encoder and classifier.

        Raises:
            ValueError: if the teacher does not give one code per second, or the data has another sample rate.
        """
        if hasattr(self, "network"):
            return
        teacher = PhoneticTokenizer.load(self.teacher_folder)
        if teacher.frame_rate != 1:
            raise ValueError(f"teacher must give one code a second, but gives {teacher.frame_rate:g} instead")
        self._teacher = [teacher]
        self.network = StyleEncoder.on(self.source.build(), projection_dim=self.projection_dim, normalize=False)
        check_sample_rate(self, self.network.sample_rate)
        self.network.train()
        size = LinearQuantizerConfig(num_units=teacher.cardinality, feature_dim=self.network.feature_dim)
        self.quantizer = LinearQuantizer(size)

    def _codes(self, batch: LabelledBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Compute scores (N, K) and the teacher's codes (N,) of all seconds, and the utterances' seconds (B,)."""
        teacher = self._teacher[0].to(self.device)
        with torch.autocast(self.device.type, enabled=False):  # in full precision, as `predict` computes the codes
            codes = teacher.encode(batch.waveforms, batch.lengths)
        wanted = [units.frames().to(self.device) for units in codes]
        features, counts = self.network(batch.waveforms, batch.lengths)
        scores = self.quantizer.layer(features)
        sizes = [min(len(codes), int(count)) for codes, count in zip(wanted, counts, strict=True)]
        return (
            torch.cat([row[:size] for row, size in zip(scores, sizes, strict=True)]),
            torch.cat([codes[:size] for codes, size in zip(wanted, sizes, strict=True)]),
            torch.tensor(sizes, device=self.device),
        )

    def training_step(self, batch: LabelledBatch, batch_idx: int) -> Tensor:
        """Compute the cross entropy per second."""
        scores, codes, _ = self._codes(batch)
        loss = cross_entropy(scores.float(), codes, reduction="sum") / max(1, len(codes))
        self.log("train/loss", loss.detach(), batch_size=len(batch.ids), prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start new counts: of codes by style and by speaker, of all codes, and of agreement with the teacher."""
        data = data_of(self, LabelledData)
        names = {"styles": (), "speakers": ()} if data is None else {"styles": data.styles, "speakers": data.speakers}
        sizes = {name: max(1, len(labels)) for name, labels in names.items()}
        k = self.quantizer.num_units
        self._counts = {name: torch.zeros(k, size, device=self.device) for name, size in sizes.items()}
        self._counts |= {"codes": torch.zeros(k, device=self.device), "agreement": torch.zeros(2, device=self.device)}

    def validation_step(self, batch: LabelledBatch, batch_idx: int) -> None:
        """Count codes by style and speaker, and those that agree with the teacher."""
        scores, codes, sizes = self._codes(batch)
        found = scores.argmax(-1)
        self._counts["agreement"] += torch.stack(hits(scores, codes)).float()
        self._counts["codes"] += torch.bincount(found, minlength=self.quantizer.num_units)
        for name in ("styles", "speakers"):
            labels = getattr(batch, name).repeat_interleave(sizes)
            known = labels != UNKNOWN
            ones = torch.ones(int(known.sum()), device=self.device)
            self._counts[name].index_put_((found[known], labels[known]), ones, accumulate=True)

    def on_validation_epoch_end(self) -> None:
        """Log agreement with the teacher, use of the codebook, and purity of the codes by style and by speaker."""
        counts = {name: sum_over_ranks(part) for name, part in self._counts.items()}
        right, number = counts["agreement"].tolist()
        shares = counts["codes"] / counts["codes"].sum().clamp(min=1)
        figures = {
            "accuracy": right / max(1, number),
            "codes_used": float((shares > 0).double().mean()),
            "codes_entropy": float(torch.special.entr(shares).sum()) / math.log(2),
        }
        for name in ("styles", "speakers"):
            if counts[name].shape[1] > 1 and float(counts[name].sum()):
                figures[f"purity_{name}"] = float(counts[name].amax(1).sum() / counts[name].sum())
        self.log_dict({f"{self.held_out}/{name}": value for name, value in figures.items()}, prog_bar=True)

    def export(self, folder: str) -> None:
        """Write a tokenizer of one code per second to a folder."""
        if self.global_rank == 0:
            PhoneticTokenizer(cast(FeatureExtractor, self.network), self.quantizer).save(folder)
