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
    """Computes what is minimised."""

    def check(self, vocabulary: Vocabulary) -> None:
        """Refuse a vocabulary that this objective is not for; called once, at `setup`.

        Raises:
            ValueError: saying what does not fit.
        """
        ...

    def __call__(
        self, network: Any, batch: TokenBatch, vocabulary: Vocabulary, cross_documents: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the sum that is differentiated, and what is reported.

        Args:
            network: causal language model of `spiritlm_pl.lm.build.build_network`.
            batch: packed rows (B, T).
            vocabulary: layout of the ids.
            cross_documents: whether attention sees the whole row.

        Returns:
            The sum over predicted tokens (differentiable), the next-token loss of each (M,) in nats (detached), and
            these tokens (M,).
        """
        ...
