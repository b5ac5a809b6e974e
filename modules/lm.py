"""Pretraining of a causal language model on a single stream of text and speech tokens (Spirit LM, section 3)."""

from typing import Any, cast

import torch
import torch.distributed
from lightning import Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from spiritlm_pl.adapters.checkpoint import check_base, check_same, leave_out_frozen, put_back_frozen
from spiritlm_pl.adapters.folder import ADAPTER, AdapterDescription, check_no_model, save_adapter
from spiritlm_pl.adapters.injection import put_adapter, trained_shares
from spiritlm_pl.adapters.settings import LoRA
from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.contracts.check import checked
from spiritlm_pl.contracts.data_modules import TokenData
from spiritlm_pl.contracts.objective import Objective
from spiritlm_pl.data.blocks import TEXT_FINGERPRINT
from spiritlm_pl.lm.build import LanguageModelConfig, build_network, check_losses, network_config
from spiritlm_pl.lm.folder import own_text_tokenizer, save_lm
from spiritlm_pl.lm.metrics import loss_metrics, loss_sums
from spiritlm_pl.lm.objectives import NextToken
from spiritlm_pl.lm.optimizer import OptimizerSettings, build_optimizer, check_same_optimizer
from spiritlm_pl.lm.positions import check_row_length
from spiritlm_pl.lm.schedule import Constant, Schedule
from spiritlm_pl.modules.stage import FiniteStepsModule, data_of, schedule_within
from spiritlm_pl.modules.strategy import gather_weights
from spiritlm_pl.runtime.model_description import TEMPLATES, stored_templates
from spiritlm_pl.streams import differences
from spiritlm_pl.text_tokenizers.check import check_text_tokenizer
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

NO_TEXT_TOKENIZER = (
    "the exported model will have no text tokenizer, as none was given: --model.init_args.text_tokenizer names it, and "
    "`spiritlm consolidate` or `export-lm` can put it beside the weights of a checkpoint"
)


def log_interval(trainer: Trainer) -> int:
    """Return the number of steps between two logs of the trainer."""
    return int(cast(Any, trainer).log_every_n_steps)  # set at run time by its logger connector


def redo_unfinished_step(checkpoint: dict[str, Any], accumulate: int) -> None:
    """Set the trainer's counts of batches back to the start of the optimizer step within which a checkpoint was saved.

    The gradients of that step's first batches are not saved, and the data begins again with the whole step.

    Args:
        checkpoint: checkpoint of the trainer, which is changed in place.
        accumulate: number of batches in a step from now on; the checkpoint holds that of the saved run.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        steps, begun = divmod(counts["processed"], checkpoint.get("accumulate", accumulate))
        open_hooks = 0 if begun else counts["processed"] - counts["completed"]
        batches = steps * accumulate
        counts.update(ready=batches, started=batches, processed=batches, completed=batches - open_hooks)


class LanguageModelModule(FiniteStepsModule):
    """Next-token prediction over packed rows."""

    def __init__(
        self,
        network: LanguageModelConfig,
        vocabulary: Vocabulary | None = None,
        optimizer: OptimizerSettings = OptimizerSettings(),  # noqa: B008  frozen
        schedule: Schedule | None = None,
        units_per_second: float | None = None,
        text_tokenizer: str | None = None,
        max_nonfinite_steps: int = 10,
        expressive: bool | None = None,
        objective: Objective | None = None,
        adapter: LoRA | None = None,
    ) -> None:
        """Store the settings; `configure_model` builds the network, sharded where the strategy asks for it.

        Args:
            network: choice of the model, and how it is run.
            vocabulary: layout of the token ids, which must be that of the data; None takes it from the data.
            optimizer: settings of AdamW, by default Spirit LM's learning rate, and of Muon.
            schedule: factor of the learning rate over steps; None for a constant rate after 2,000 warm-up steps.
            units_per_second: speech tokens per second, for the bits per second of speech; None asks the data.
            text_tokenizer: SentencePiece model or folder of the text tokenizer that goes into an exported model; None
                takes that of the network's checkpoint, if it has one.
            max_nonfinite_steps: number of steps in a row, skipped because their gradient is not finite, at which
                training ends.
            expressive: whether the data must have pitch and style tokens; None accepts either.
            objective: what is minimised; None for the loss of the next token, all tokens alike.
            adapter: low-rank updates that are trained in place of the network's weights; None trains the weights.
        """
        super().__init__(max_nonfinite_steps)
        self.network_config = network
        self.given_vocabulary = vocabulary
        self.optimizer_settings = optimizer
        self.schedule = schedule or Constant()
        self.units_per_second = units_per_second
        self.text_tokenizer = text_tokenizer
        self.expressive = expressive
        self.objective: Objective = NextToken() if objective is None else objective
        self.adapter = adapter
        self.base_hash = ""  # of the network's checkpoint, once it is known; for an adapter
        self.text_fingerprint: str | None = None  # of the text tokenizer, once it is known
        self.templates: dict[str, Any] = {}  # of the conversations that the model has learnt
        self._step_sums: Tensor | None = None  # sums over this step's batches so far
        self._validation_sums: dict[int, Tensor] = {}

    def configure_model(self) -> None:
        """Build the network, once; under ZeRO-3 every rank builds its shard only."""
        if not hasattr(self, "network"):
            bits = None if self.adapter is None else self.adapter.bits
            self.network = build_network(self.network_config, self.vocabulary, bits)
            if self.adapter is not None:
                put_adapter(self.network, self.adapter, self.vocabulary)
                trained, whole = trained_shares(self.network)
                rank_zero_info(f"the adapter has {trained:,} of {whole:,} parameters ({100 * trained / whole:.2f} %)")

    def setup(self, stage: str) -> None:
        """Check that data and model have the same vocabulary, and that rows are not longer than the model's positions.

        Raises:
            FileNotFoundError: if there is no text tokenizer where one is named.
            ValueError: if the vocabularies differ, the text tokenizer is not that of the data or cannot be exported,
                rows are too long for the model, or packed rows would not give the losses of the model's own forward.
        """
        data = data_of(self, TokenData)
        theirs = None if data is None else data.vocabulary
        if theirs is None and self.given_vocabulary is None:
            raise ValueError("vocabulary must be given if the data module has none, but is None instead")
        if None not in (theirs, self.given_vocabulary) and theirs != self.given_vocabulary:
            own, given = differences(
                cast(Vocabulary, theirs).to_dict(), cast(Vocabulary, self.given_vocabulary).to_dict()
            )
            raise ValueError(f"vocabulary must be the data's, with {own}, but is with {given} instead")
        self.vocabulary = cast(Vocabulary, self.given_vocabulary or theirs)
        if self.expressive not in (None, self.vocabulary.expressive):
            wanted, found = ("pitch and style tokens", "units alone")[:: 1 if self.expressive else -1]
            raise ValueError(f"blocks must hold {wanted} with expressive {self.expressive}, but hold {found} instead")
        checked(self.objective, Objective, "objective", self).check(self.vocabulary)
        config = network_config(self.network_config, self.vocabulary)
        self.text_tokenizer = self.text_tokenizer or own_text_tokenizer(self.network_config.checkpoint)
        checkpoint = self.network_config.checkpoint
        self.templates = {} if checkpoint is None else stored_templates(checkpoint)
        if data is not None:
            self.templates |= getattr(data, "templates", {})
            check_row_length(data.row_length, config, from_scratch=self.network_config.checkpoint is None)
            self.text_fingerprint = data.text_fingerprint
        if stage == "fit":  # it would be missed in the export, after the last step
            self._check_text_tokenizer(config.to_json_string(use_diff=False))
        if self.units_per_second is None and data is not None:
            self.units_per_second = data.units_per_second
        check_losses(config, self.network_config)
        self._check_muon()
        self._check_adapter()

    def _check_adapter(self) -> None:
        """Check that there is a base model for the adapter, and that the strategy can train it.

        Raises:
            ValueError: if there is no checkpoint, its configuration is changed, or quantized weights would have to be
                divided.
        """
        if self.adapter is None:
            return
        divides = isinstance(self.trainer.strategy, DeepSpeedStrategy | ModelParallelStrategy)
        if self.adapter.bits is not None and divides:
            raise ValueError(
                f"--trainer.strategy must be auto or ddp with bits {self.adapter.bits}, but is "
                f"{type(self.trainer.strategy).__name__}, which would divide quantized weights"
            )
        self.base_hash = check_base(self.network_config, self.vocabulary)

    def _check_muon(self) -> None:
        """Check that Muon has whole matrices to work on.

        Raises:
            ValueError: if the strategy divides them, or an adapter is trained in their place.
        """
        rate, strategy = self.optimizer_settings.muon_lr, self.trainer.strategy
        if rate is None:
            return
        if isinstance(strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
            raise ValueError(
                f"optimizer.muon_lr must be null with {type(strategy).__name__}, which divides the matrices that "
                f"Muon needs whole, but is {rate} instead"
            )
        if self.adapter is not None:
            raise ValueError(f"optimizer.muon_lr must be null with an adapter, but is {rate} instead")

    def _check_text_tokenizer(self, config: str) -> None:
        """Check the text tokenizer, and print a message where there is none."""
        if self.text_tokenizer is None:
            rank_zero_info(NO_TEXT_TOKENIZER)
            return
        text = check_text_tokenizer(self.text_tokenizer, self.vocabulary, config, self.text_fingerprint)
        self.text_fingerprint = text.fingerprint

    def on_train_start(self) -> None:
        """Prepare to count skipped steps, and discard losses that an unfinished step has summed."""
        super().on_train_start()
        self._step_sums = None

    def training_step(self, batch: TokenBatch, batch_index: int) -> Tensor:
        """Compute the loss of one batch: the sum over its predicted tokens, divided by the tokens of its rows.

        Trainers average the gradients of ranks and of accumulated batches, whatever number of tokens each predicts. So
        the divisor must be the same for all of them, or else a token would weigh more in a batch with more padding. The
        number of predicted tokens in the whole step cannot be the divisor: it is known only after the step's last
        batch, when earlier gradients have been computed, and DeepSpeed gives no access to them. Rows hold little
        padding, so the gradient is close to that of the mean over predicted tokens, which is the loss that is logged.

        Raises:
            ValueError: if the batch belongs to another step than the trainer's.
        """
        if batch.step != self.trainer.global_step:
            raise ValueError(
                f"batch must belong to step {self.trainer.global_step} of the trainer, but belongs to step "
                f"{batch.step} instead: data and trainer were not resumed from the same place"
            )
        loss, own_sums = self._loss_and_sums(batch)
        sums = self._all_ranks(own_sums)
        step_sums = self._step_sums = sums if self._step_sums is None else self._step_sums + sums
        self.log("train/loss", step_sums[0] / step_sums[1].clamp(min=1), prog_bar=True)
        if (self.trainer.global_step + 1) % log_interval(self.trainer) == 0:
            metrics = self._figures(step_sums)
            self.log_dict({f"train/{name}": value for name, value in metrics.items() if name != "loss"})
        return loss

    def on_train_batch_end(self, outputs: Any, batch: TokenBatch, batch_idx: int) -> None:
        """Discard the summed losses of a step after its last batch, and count the step if DeepSpeed skipped it."""
        if self.trainer.global_step != batch.step:
            self._step_sums = None
        super().on_train_batch_end(outputs, batch, batch_idx)

    def on_validation_epoch_start(self) -> None:
        """Discard the summed losses of the last validation."""
        self._validation_sums = {}

    def validation_step(self, batch: TokenBatch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Add the losses of a batch to the sums of its data stream."""
        _, sums = self._loss_and_sums(batch)
        before = self._validation_sums.get(dataloader_idx)
        self._validation_sums[dataloader_idx] = sums if before is None else before + sums

    def on_validation_epoch_end(self) -> None:
        """Log `val/loss`, `val/loss_text`, `val/loss_speech` and so on, over all streams and for every stream."""
        if not self._validation_sums:
            return
        data = data_of(self, TokenData)
        names = None if data is None else data.test_streams if self.held_out == "test" else data.val_streams
        totals = {index: self._all_ranks(sums) for index, sums in sorted(self._validation_sums.items())}
        parts = {self.held_out: torch.stack(list(totals.values())).sum(0)}
        if len(totals) > 1:
            parts |= {f"{self.held_out}/{names[index] if names else index}": sums for index, sums in totals.items()}
        for prefix, sums in parts.items():
            metrics = self._figures(sums)
            self.log_dict({f"{prefix}/{name}": value for name, value in metrics.items()})

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer and its learning rate schedule, which advances with each optimizer step."""
        optimizer = build_optimizer(self.network, self.optimizer_settings)
        scheduler = LambdaLR(optimizer, schedule_within(self, self.schedule))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the description of the model that `spiritlm consolidate` needs."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["accumulate"] = self.trainer.accumulate_grad_batches
        checkpoint["language_model"] = {
            "config": self.network.config.to_json_string(use_diff=False),
            "vocabulary": self.vocabulary.to_dict(),
            TEXT_FINGERPRINT: self.text_fingerprint,
            TEMPLATES: self.templates,
        }
        if (adapter := self._adapter_description()) is not None:
            checkpoint["language_model"][ADAPTER] = adapter.to_dict()
            leave_out_frozen(checkpoint, self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Set the counts back to the start of an unfinished step, so that it is repeated.

        Raises:
            ValueError: if the checkpoint has another adapter, or one of another base model, or its optimizer was
                another one and training is to go on.
        """
        super().on_load_checkpoint(checkpoint)
        if self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING:
            check_same_optimizer(checkpoint, self.optimizer_settings)
        check_same(checkpoint.get("language_model", {}).get(ADAPTER), self._adapter_description())
        if self.adapter is not None:
            put_back_frozen(checkpoint, self)
        if self._trainer is not None:
            redo_unfinished_step(checkpoint, self._trainer.accumulate_grad_batches)

    def _adapter_description(self) -> AdapterDescription | None:
        """Return what is stored with the adapter; None if none is trained."""
        if self.adapter is None:
            return None
        base = str(self.network_config.checkpoint)
        return AdapterDescription.of(self.network, self.adapter, self.vocabulary, base, self.base_hash, self.templates)

    def check_export(self, folder: str) -> None:
        """Refuse a folder to which this module could not write.

        Raises:
            ValueError: if it holds a whole model, and an adapter is trained.
        """
        if self.adapter is not None:
            check_no_model(folder)

    def export(self, folder: str) -> None:
        """Write the model as a Hugging Face folder with `spiritlm.json`; every rank must call, rank zero writes.

        An adapter is written as a folder of the library peft.

        Args:
            folder: folder to write to.
        """
        if (adapter := self._adapter_description()) is not None:
            own = gather_weights(self.network, self.trainer.is_global_zero, trained=True)
            if own is not None:
                save_adapter(folder, own, adapter)
            return
        weights = gather_weights(self.network, self.trainer.is_global_zero)
        if weights is not None:
            given = self.text_tokenizer
            text = None if given is None else TextTokenizer.load_fitting(given, self.vocabulary, self.text_fingerprint)
            extra = {TEMPLATES: self.templates} if self.templates else None
            save_lm(folder, self.network, self.vocabulary, text, weights, extra)

    def _loss_and_sums(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Compute the loss to differentiate, and sums for `_figures`: first that of what is logged, and its count."""
        across = self.network_config.cross_documents
        total, losses, targets = self.objective(self.network, batch, self.vocabulary, across)
        return total / batch.tokens.numel(), loss_sums(losses, targets, self.vocabulary)

    def _figures(self, sums: Tensor) -> dict[str, float]:
        """Compute what is logged from the sums over batches and ranks."""
        return loss_metrics(sums, self.vocabulary, self.units_per_second)

    def _all_ranks(self, sums: Tensor) -> Tensor:
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(sums)
        return sums
