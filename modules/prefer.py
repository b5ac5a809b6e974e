"""Preference tuning of a trained language model: continuations that are preferred become likelier than rejected ones.

DPO (arXiv 2305.18290) and SimPO (arXiv 2405.14734) over pairs of text, of speech, or of both, as Align-SLM (arXiv
2411.01834) does with speech. The model that training begins with is the reference; its log-likelihoods come with the
data.
"""

from typing import Any

import torch
from torch import Tensor

from spiritlm_pl.contracts.batches import PairBatch, TokenBatch
from spiritlm_pl.contracts.check import checked
from spiritlm_pl.contracts.data_modules import PreferenceData
from spiritlm_pl.contracts.preference_loss import PreferenceLoss
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.identity import model_hash
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.modules.stage import data_of
from spiritlm_pl.preferences.learning import preference_loss, preference_metrics
from spiritlm_pl.preferences.losses import DPO, Distance

FARTHEST = 0.1  # nats per token between the reference and the model before its first step; rounding causes less


class PreferenceModule(LanguageModelModule):
    """Preference tuning over packed rows of pairs."""

    def __init__(self, network: LanguageModelConfig, loss: PreferenceLoss | None = None, **options: Any) -> None:
        """Store the settings; the network is built as in pretraining.

        Args:
            network: the trained model, and how it is run.
            loss: loss of pairs; None for DPO with its defaults.
            options: further settings, those of `LanguageModelModule`; it takes no objective.
        """
        super().__init__(network, **options)
        if network.checkpoint is None:
            raise ValueError(
                "network.checkpoint must be a trained model, whose continuations were compared, but is null"
            )
        if network.loss.z_loss:
            raise ValueError(f"network.loss.z_loss must be 0 with pairs, but is {network.loss.z_loss} instead")
        if options.get("objective") is not None:
            raise ValueError(f"objective must be null, since loss is minimised, but is {options['objective']} instead")
        self.loss: PreferenceLoss = checked(DPO() if loss is None else loss, PreferenceLoss, "loss", self)

    def setup(self, stage: str) -> None:
        """Check vocabularies and rows as pretraining does, and that the log-likelihoods are those of this model.

        Raises:
            FileNotFoundError, ValueError: as in pretraining, and if the loss needs log-likelihoods and the data has
                none, or those of another model.
        """
        super().setup(stage)
        data = data_of(self, PreferenceData)
        if data is None or not self.loss.needs_reference:
            return
        name = type(self.loss).__name__
        if data.reference_model is None:
            raise ValueError(
                f"preferences must have reference log-likelihoods for {name}, but have none: `spiritlm prepare "
                "reference` adds them"
            )
        own = model_hash(str(self.network_config.checkpoint))
        if data.reference_model != own:
            raise ValueError(
                f"reference log-likelihoods must be of network.checkpoint ({self.network_config.checkpoint}, hash "
                f"{own[:16]}), but are those of a model with hash {data.reference_model[:16]}: `spiritlm prepare "
                "reference` computes them anew"
            )

    def training_step(self, batch: TokenBatch, batch_index: int) -> Tensor:
        """Compute the mean loss of the pairs of one batch.

        All batches of all ranks have the same number of pairs, so that the mean gradient of ranks and accumulated
        batches is that of the mean over the pairs of the step.

        Raises:
            ValueError: if the batch belongs to another step than the trainer's, or its reference log-likelihoods are
                not those of the model before its first step.
        """
        if self.trainer.global_step == 0 and batch_index == 0 and self.loss.needs_reference:
            assert isinstance(batch, PairBatch)
            self._check_reference(batch)
        return super().training_step(batch, batch_index)

    @torch.no_grad()
    def _check_reference(self, batch: PairBatch) -> None:
        """Compare the log-likelihoods of the untrained network with the reference."""
        self.network.eval()
        far = float(preference_loss(self.network, batch, Distance(), self.network_config.cross_documents)[0])
        self.network.train()
        if not far <= FARTHEST:
            raise ValueError(
                f"reference log-likelihoods must be those of the model before its first step, but differ by {far:.3g} "
                "nats a token: settings of network change what the model of the checkpoint computes"
            )

    def _loss_and_sums(self, batch: Any) -> tuple[Tensor, Tensor]:
        return preference_loss(self.network, batch, self.loss, self.network_config.cross_documents)

    def _figures(self, sums: Tensor) -> dict[str, float]:
        return preference_metrics(sums)
