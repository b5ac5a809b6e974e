"""Objectives of language model pretraining: the next token, all tokens alike or weighed by their stream.

Shapes: M predicted tokens, V rows of the embedding.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.lm.build import token_losses
from spiritlm_pl.vocabulary import Vocabulary

TEXT = "text"


class NextToken:
    """Predict the next token, all tokens alike (Spirit LM, section 3.1)."""

    def check(self, vocabulary: Vocabulary) -> None:
        """Take any vocabulary."""

    def __call__(
        self, network: PreTrainedModel, batch: TokenBatch, vocabulary: Vocabulary, cross_documents: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the loss; see `spiritlm_pl.contracts.objective.Objective`."""
        return token_losses(network, batch, cross_documents)


class WeightedStreams:
    """Predict the next token, with a weight for each stream; figures that are logged stay unweighted.

    The weights count for the z-loss, too, and gradients become as much larger or smaller.

    Args:
        weights: factor of the loss of text (`text`) or of a stream of speech (`unit`, `pitch`, `semantic`, ...); 1
            for what is not named, such as modality tokens. Ends of documents are text tokens that keep weight 1.

    Raises:
        ValueError: if a weight is negative, or none is given.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        """Check the weights."""
        if not weights:
            raise ValueError("weights must name text or a stream, but are empty instead")
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"weights must be finite and at least 0, but that of {name} is {weight} instead")
        self.weights = dict(weights)
        self._table: Tensor | None = None

    def check(self, vocabulary: Vocabulary) -> None:
        """Refuse a vocabulary that lacks a stream which has a weight, and weights that are all 0.

        Raises:
            ValueError: if the vocabulary does not fit; the message names its streams.
        """
        known = (TEXT, *vocabulary.layout.names)
        if not any(self.weights.get(name, 1.0) for name in known):
            raise ValueError(f"weights must leave something to learn, but those of {', '.join(known)} are all 0")
        for name in self.weights:
            if name not in known:
                raise ValueError(f"weights must name some of {', '.join(known)}, but one is of {name!r} instead")

    def table(self, vocabulary: Vocabulary) -> Tensor:
        """Return the weight of each token id (V,), V embedding rows."""
        found = torch.ones(vocabulary.num_rows)
        for name, weight in self.weights.items():
            first, end = (0, vocabulary.num_text) if name == TEXT else vocabulary.bounds(name)
            found[first:end] = weight
        if vocabulary.end_of_document is not None:
            found[vocabulary.end_of_document] = 1.0
        return found

    def __call__(
        self, network: PreTrainedModel, batch: TokenBatch, vocabulary: Vocabulary, cross_documents: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the loss; see `spiritlm_pl.contracts.objective.Objective`."""
        if self._table is None:
            self._table = self.table(vocabulary)
        self._table = table = self._table.to(batch.tokens.device)
        return token_losses(network, batch, cross_documents, lambda targets: table[targets])
