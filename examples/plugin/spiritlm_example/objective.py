"""An objective: predict the next token, and count a document's later tokens more than its first ones."""

from typing import Any

from torch import Tensor

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm.build import token_losses
from spiritlm_pl.vocabulary import Vocabulary


class LateTokens:
    """Next-token loss with weights by place in the document; see `spiritlm_pl.contracts.objective.Objective`.

    Args:
        tokens: number of tokens of a document after which tokens have weight 1; before, the weight grows linearly.
    """

    def __init__(self, tokens: int = 8) -> None:
        """Check the number."""
        if tokens < 1:
            raise ValueError(f"tokens must be at least 1, but is {tokens} instead")
        self.tokens = tokens

    def check(self, vocabulary: Vocabulary) -> None:
        """Accept any vocabulary."""

    def __call__(
        self, network: Any, batch: TokenBatch, vocabulary: Vocabulary, cross_documents: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weighted sum of the losses, the unweighted losses and their target tokens."""
        wanted = batch.loss_mask[:, 1:] & (batch.segment_ids[:, 1:] == batch.segment_ids[:, :-1])
        places = batch.position_ids[:, 1:][wanted]
        return token_losses(network, batch, cross_documents, lambda targets: (places / self.tokens).clamp(max=1))
