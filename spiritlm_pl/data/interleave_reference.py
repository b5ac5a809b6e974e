"""Interleaving in plain Python, one document at a time, which `interleave` must equal bit for bit."""

from collections.abc import Iterator, Sequence

from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.data.interleave import Interleaving
from spiritlm_pl.data.rng import between, derive
from spiritlm_pl.vocabulary import Modality, Vocabulary


def visit_document(document: Document, key: int, options: Interleaving, vocabulary: Vocabulary) -> list[int]:
    """Return the token ids of one visit to one document.

    Args:
        document: document that is visited.
        key: key of the visit, as in `interleave.visit`.
        options: how text and speech are interleaved.
        vocabulary: vocabulary with the modality tokens.
    """
    tokens: list[int] = []
    current: Modality | None = None
    for modality, words in _groups(document.words, derive(key, document.key), options):
        ids = [token for word in words for token in (word.speech if modality else word.text)]
        if not ids:
            continue
        if options.mode == "asr_tts" and current is not None:
            tokens.append(vocabulary.task_offset + modality)
        elif modality != current:
            tokens.append(vocabulary.marker(modality))
        tokens += ids
        current = modality
    if not tokens:
        return tokens
    ending = [] if vocabulary.end_of_document is None else [vocabulary.end_of_document]
    return [*vocabulary.opening, *tokens, *ending]


def _groups(words: Sequence[WordIds], key: int, options: Interleaving) -> Iterator[tuple[Modality, Sequence[WordIds]]]:
    """Yield the words in the order of the sequence, in groups of one modality."""
    first = Modality(derive(key, 0) >> 63)
    other = Modality(1 - first)
    match options.mode:
        case "text":
            yield Modality.TEXT, words
        case "speech":
            yield Modality.SPEECH, words
        case "none":
            yield first, words
        case "asr_tts":
            yield first, words
            yield other, words
        case "word_level":
            for word in words:
                yield Modality.TEXT, [word]
                yield Modality.SPEECH, [word]
        case "interleaved":
            start, number = 0, 0
            while start < len(words):
                modality = other if number % 2 else first
                low, high = options.speech_span if modality else options.text_span
                length = between(derive(key, number + 1), low, high)
                yield modality, words[start : start + length]
                start, number = start + length, number + 1
