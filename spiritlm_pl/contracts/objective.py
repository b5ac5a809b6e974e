"""Contract of objectives: from a batch to the number that language model pretraining minimises.

`LanguageModelModule` calls its objective in every training and validation step. It divides the sum by the tokens of the
batch's rows, and logs the losses by the kind of their targets.

Shapes: B rows, T row length, M predicted tokens.
"""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.vocabulary import Vocabulary


@runtime_checkable
class Objective(Protocol):
    """Computes the loss that language model pretraining minimises."""

    def check(self, vocabulary: Vocabulary) -> None:
        """Refuse a vocabulary that this objective is not for; called once, at `setup`.

        Raises:
            ValueError: if the vocabulary does not fit; the message says why.
        """
        ...

    def __call__(
        self, network: Any, batch: TokenBatch, vocabulary: Vocabulary, cross_documents: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the loss to differentiate, and the losses to log.

        Args:
            network: causal language model, as `spiritlm_pl.lm.build.build_network` makes it.
            batch: packed rows (B, T).
            vocabulary: layout of the token ids.
            cross_documents: whether a token attends to all earlier tokens of its row; False limits it to its document.

        Returns:
            The sum over predicted tokens (differentiable), the next-token loss of each (M,) in nats (detached), and
            these tokens (M,).
        """
        ...
