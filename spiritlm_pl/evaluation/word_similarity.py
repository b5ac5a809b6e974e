"""Similarity of the hidden states of words that are spoken and written, layer by layer (arXiv 2402.05755, figure 6).

A model that was trained with interleaved text and speech brings both forms of a word close to each other in its middle
layers; one that was trained on both apart does not. For each word, the largest cosine similarity between a state of its
text tokens and a state of its speech tokens is taken, each form in a sequence of its own. The same between the text of
a word and the speech of another word of the utterance tells how much any two states are alike.

Shapes: L layers and the embedding, K tokens, D features, U utterances.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiritlm_pl.data.utterances import aligned_document
from spiritlm_pl.evaluation.interval import Estimate, ratio_estimate
from spiritlm_pl.generation.sampling import context_length
from spiritlm_pl.vocabulary import Modality

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from spiritlm_pl.data.documents import WordIds
    from spiritlm_pl.data.unit_corpus import UnitCorpus
    from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
    from spiritlm_pl.vocabulary import Vocabulary


@dataclass(frozen=True)
class LayerSimilarity:
    """Similarity of spoken and written words in one layer, from -1 to 1.

    Attributes:
        layer: number of the layer; 0 is the embedding.
        same: similarity of both forms of a word.
        other: similarity of a written word and another spoken word of the utterance.
    """

    layer: int
    same: Estimate
    other: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"layer": self.layer, "same": self.same.to_dict(), "other": self.other.to_dict()}


@torch.no_grad()
def word_similarity(
    model: "PreTrainedModel",
    tokenizer: "TextTokenizer",
    vocabulary: "Vocabulary",
    corpus: "UnitCorpus",
    max_utterances: int | None = None,
) -> list[LayerSimilarity]:
    """Measure the similarity of spoken and written words in each layer, with bootstrap intervals over utterances.

    Args:
        model: causal language model in evaluation mode.
        tokenizer: tokenizer of the text.
        vocabulary: layout of the token ids.
        corpus: tokenised corpus with word times.
        max_utterances: largest number of utterances; None for all.

    Raises:
        ValueError: if the vocabulary delays codebooks, or no utterance has two words with text and speech tokens that
            fit into the model's context.
    """
    if vocabulary.layout.delays:
        raise ValueError("codebooks must have no delay for words to have tokens of their own, but they are delayed")
    sums: list[tuple[Tensor, Tensor, int]] = []
    most = context_length(model)
    for words in _utterances(corpus, tokenizer, vocabulary):
        sequences = [_sequence(words, modality, tokenizer, vocabulary) for modality in Modality]
        if most is not None and max(len(tokens) for tokens, _ in sequences) > most:
            continue
        (text, written), (speech, said) = sequences
        states = _states(model, text), _states(model, speech)
        turned = said[len(said) // 2 :] + said[: len(said) // 2]
        both = [
            torch.stack([_closest(*states, *places) for places in zip(written, spoken, strict=True)]).sum(0)
            for spoken in (said, turned)
        ]
        sums.append((both[0], both[1], len(written)))
        if max_utterances is not None and len(sums) >= max_utterances:
            break
    if not sums:
        raise ValueError(
            f"corpus must hold utterances of at least two words with text and speech tokens, but {corpus.folder} has "
            "none that fit into the model's context"
        )
    counts = [float(count) for *_, count in sums]
    return [
        LayerSimilarity(
            layer,
            _mean([float(same[layer]) for same, _, _ in sums], counts),
            _mean([float(other[layer]) for _, other, _ in sums], counts),
        )
        for layer in range(len(sums[0][0]))
    ]


def _mean(sums: Sequence[float], counts: Sequence[float]) -> Estimate:
    found = ratio_estimate(sums, counts)
    assert found is not None  # every utterance has words
    return found


def _utterances(
    corpus: "UnitCorpus", tokenizer: "TextTokenizer", vocabulary: "Vocabulary"
) -> "Iterator[list[WordIds]]":
    """Yield the words of each utterance that has at least two with tokens in both modalities."""
    for utterance in corpus:
        document = aligned_document(utterance, corpus.layout, tokenizer, vocabulary)
        if document is not None:
            words = list(document.words)
            if sum(bool(len(word.text)) and bool(len(word.speech)) for word in words) >= 2:
                yield words


def _sequence(
    words: "Sequence[WordIds]", modality: Modality, tokenizer: "TextTokenizer", vocabulary: "Vocabulary"
) -> tuple[list[int], list[range]]:
    """Return the token ids of an utterance in one modality, and the places of each word that has both."""
    tokens = [*tokenizer.opening, *vocabulary.opening, vocabulary.marker(modality)]
    places = []
    for word in words:
        own = word.text if modality is Modality.TEXT else word.speech
        if len(word.text) and len(word.speech):
            places.append(range(len(tokens), len(tokens) + len(own)))
        tokens.extend(own)
    return tokens, places


def _states(model: "PreTrainedModel", tokens: Sequence[int]) -> Tensor:
    """Return the hidden states (L, K, D) of all layers, of length 1."""
    given = torch.tensor([tokens], device=model.device)
    states = model(input_ids=given, output_hidden_states=True, use_cache=False, logits_to_keep=1).hidden_states
    return F.normalize(torch.cat([layer.float() for layer in states]), dim=-1)


def _closest(written: Tensor, said: Tensor, text: range, speech: range) -> Tensor:
    """Return the largest similarity (L,) of a state of a written word and a state of a spoken word."""
    return (written[:, list(text)] @ said[:, list(speech)].mT).amax((1, 2)).cpu()
