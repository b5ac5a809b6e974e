"""Speech tokens of one utterance of a tokenised corpus, and its words in both modalities as a document.

A token of speech belongs to the word in which it starts; a run of units or of pitch codes starts with its first frame.
What is said before the first word goes to the first word, and a pause to the word before it. Codes of a neural codec
stand frame by frame, so that words have whole frames; delays are applied to stretches (`spiritlm_pl.data.steps`).
"""

from typing import Any

import numpy as np

from spiritlm_pl.data.corpus_store import UnitUtterance
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.data.merge import SpeechTokens, speech_stream
from spiritlm_pl.data.rng import name_key
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

ROUNDING = 1e-6  # seconds by which a token may start before its word because of rounding


def speech_of(utterance: UnitUtterance, layout: SpeechLayout, vocabulary: Vocabulary) -> SpeechTokens:
    """Return the speech tokens of an utterance in their order.

    Args:
        utterance: tokenised utterance of a corpus.
        layout: streams of its tokenizer.
        vocabulary: vocabulary of the language model; streams that it lacks are left out.

    Raises:
        ValueError: if the utterance lacks a stream of the vocabulary.
    """
    return speech_stream(utterance.units, utterance.unit_starts, utterance.codes, layout, vocabulary)


def speech_of_words(
    utterance: UnitUtterance, layout: SpeechLayout, vocabulary: Vocabulary
) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the speech token ids of each word, or of the whole if the utterance has no word times.

    Tokens go to the word in which they start.
    """
    tokens = speech_of(utterance, layout, vocabulary)
    starts = np.array([word.start for word in utterance.words])
    # In long speech, a pitch or style token may stand before units that start earlier. It goes to their word.
    begun = np.minimum.accumulate(tokens.starts[::-1])[::-1] + ROUNDING
    first = np.searchsorted(begun, starts[1:], side="left")  # first token of word 1, 2, ...
    return np.split(tokens.ids(vocabulary), np.maximum.accumulate(first)) if len(first) else [tokens.ids(vocabulary)]


def spoken_text(utterance: UnitUtterance) -> str:
    """Return the text of an utterance: its aligned words, or else its transcript."""
    return " ".join(word.word for word in utterance.words).strip() or " ".join(utterance.text.split())


def aligned_document(
    utterance: UnitUtterance, layout: SpeechLayout, tokenizer: TextTokenizer, vocabulary: Vocabulary
) -> Document | None:
    """Make a document of both modalities of an utterance's words; None if it has no units or no word times.

    Args:
        utterance: tokenised utterance of a corpus.
        layout: streams of its tokenizer.
        tokenizer: text tokenizer for its words.
        vocabulary: layout of the token ids.
    """
    if not len(utterance.units) or not utterance.words:
        return None
    parts = speech_of_words(utterance, layout, vocabulary)
    texts = tokenizer.encode_words([word.word for word in utterance.words])
    words = [WordIds(text, ids.tolist()) for text, ids in zip(texts, parts, strict=True)]
    return Document(name_key(utterance.id), words) if any(word.text for word in words) else None
