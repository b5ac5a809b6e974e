"""An objective: predict the next token, and count a document's later tokens more than its first ones."""

from typing import Any

from torch import Tensor

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm.build import token_losses
from spiritlm_pl.vocabulary import Vocabulary


class LateTokens:
    """Weigh tokens by their place; see `spiritlm_pl.contracts.objective.Objective`.

    Args:
        tokens: places of a document after which a token has its full weight.
    """

    def __init__(self, tokens: int = 8) -> None:
        """Check the number."""
        if tokens < 1:
            raise ValueError(f"tokens must be at least 1, but is {tokens} instead")
        self.tokens = tokens

    def check(self, vocabulary: Vocabulary) -> None:
        """Take any vocabulary."""

    def __call__(
        self, network: Any, batch: TokenBatch, vocabulary: Vocabulary, cross_documents: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the weighted sum, the losses and their tokens."""
        wanted = batch.loss_mask[:, 1:] & (batch.segment_ids[:, 1:] == batch.segment_ids[:, :-1])
        places = batch.position_ids[:, 1:][wanted]
        return token_losses(network, batch, cross_documents, lambda targets: (places / self.tokens).clamp(max=1))
