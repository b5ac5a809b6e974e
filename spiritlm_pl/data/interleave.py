"""Word-level interleaving of text and speech (Spirit LM, arXiv 2402.05755, section 3.1 and appendix A).

A visit to a document is one reading of it in training. It turns the document into pieces: slices of its text or speech
tokens, each opened by a modality token where the modality changes. In the published mode, spans of words alternate
between text and speech, with lengths drawn anew at every visit. The other modes, for ablations, cut the same table
differently. `interleave_reference` implements the same rule in plain Python, one document at a time; this file treats a
whole block with numpy.

Shapes: D documents, W words, K spans (drawn), P pieces.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from spiritlm_pl.data.documents import Documents, Integers, bounds
from spiritlm_pl.data.rng import between_many, derive_many
from spiritlm_pl.vocabulary import Modality, Vocabulary

NO_MARKER = -1


# How the two sides of an aligned document become one sequence:
Mode = Literal[
    "interleaved",  # alternating spans of words, first modality and lengths random
    "none",  # no interleaving: the whole document in one modality, at random
    "asr_tts",  # [Speech]units[ASR]text or [Text]text[TTS]units, at random
    "word_level",  # [Text]w1[Speech]units(w1)[Text]w2 ...
    "speech",  # [Speech]units
    "text",  # [Text]text
]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, kw_only=True)
class Interleaving:
    """Options of interleaving; the defaults are the published ones.

    Args:
        mode: way in which text and speech become one sequence: interleaved, none, asr_tts, word_level, speech or text
            (see `Mode`).
        text_span: smallest and largest number of words in a text span.
        speech_span: smallest and largest number of words in a speech span.
    """

    mode: Mode = "interleaved"
    text_span: tuple[int, int] = (10, 30)
    speech_span: tuple[int, int] = (5, 15)

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, but is {self.mode!r} instead")
        for name in ("text_span", "speech_span"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(f"{name} must be (low, high) with 1 <= low <= high, but is ({low}, {high}) instead")

    def check(self, vocabulary: Vocabulary) -> None:
        """Check that the vocabulary has the tokens that the mode needs.

        Raises:
            ValueError: for mode asr_tts without two task markers.
        """
        if self.mode == "asr_tts" and vocabulary.num_tasks < 2:
            raise ValueError(f"num_tasks must be at least 2 for mode asr_tts, but is {vocabulary.num_tasks} instead")


@dataclass(frozen=True, eq=False)
class Pieces:
    """Documents of a block, cut into pieces for one visit: slices of `Documents.tokens` in output order.

    Attributes:
        document: number of each piece's document in visiting order (P,).
        modality: modality of each piece (P,), uint8, values of `Modality`.
        source: place in `Documents.tokens` of the first token of each slice (P,).
        length: number of tokens in each slice (P,); 0 for pieces that open or end a document, which are a marker only.
        marker: id of the token that opens each piece (P,), or NO_MARKER.
    """

    document: Integers
    modality: npt.NDArray[np.uint8]
    source: Integers
    length: Integers
    marker: npt.NDArray[np.int32]


def visit(documents: Documents, order: Integers, key: int, options: Interleaving, vocabulary: Vocabulary) -> Pieces:
    """Cut the documents of a block into pieces.

    Args:
        documents: table of the block's documents.
        order: documents in the order of this visit (D,).
        key: key of this visit; together with a document's own key it determines the random choices for that document.
        options: how text and speech are interleaved.
        vocabulary: vocabulary with the modality tokens.
    """
    keys = derive_many(key, documents.keys[order])
    coins = (derive_many(keys, 0) >> np.uint64(63)).astype(np.int64)  # decides the first modality of each document
    first, end = documents.word_bounds[order], documents.word_bounds[order + 1]
    numbers = np.arange(len(order), dtype=np.int64)
    task = NO_MARKER
    match options.mode:
        case "interleaved":
            document, modality, start, stop = _spans(keys, coins, first, end, options)
        case "word_level":
            document = np.repeat(numbers, 2 * (end - first))
            start = np.repeat(_ranges(first, end), 2)
            stop = start + 1
            modality = np.arange(len(start)) & 1
        case "asr_tts":
            document, start, stop = (np.repeat(values, 2) for values in (numbers, first, end))
            modality = np.repeat(coins, 2) ^ (np.arange(2 * len(order)) & 1)
            task = vocabulary.task_offset
        case _:
            document, start, stop = numbers, first, end
            modality = coins
            if options.mode != "none":
                chosen = Modality.TEXT if options.mode == "text" else Modality.SPEECH
                modality = np.full(len(order), chosen, dtype=np.int64)
    return _pieces(documents, vocabulary, document, modality, start, stop, task)


def _spans(
    keys: npt.NDArray[np.uint64], coins: Integers, first: Integers, end: Integers, options: Interleaving
) -> tuple[Integers, Integers, Integers, Integers]:
    """Draw alternating spans; return document, modality, first word and end word of each, all (K,)."""
    words = end - first
    shortest = options.text_span[0] + options.speech_span[0]
    draws = 2 * (-(-words // shortest))  # enough spans for the document even if all are shortest
    offsets = bounds(draws)
    document = np.repeat(np.arange(len(words), dtype=np.int64), draws)
    number = np.arange(offsets[-1], dtype=np.int64) - offsets[document]
    modality = (coins[document] + number) & 1
    low = np.array([options.text_span[0], options.speech_span[0]], dtype=np.int64)[modality]
    high = np.array([options.text_span[1], options.speech_span[1]], dtype=np.int64)[modality]
    lengths = between_many(derive_many(keys[document], (number + 1).astype(np.uint64)), low, high)
    stops = bounds(lengths)
    start = stops[:-1] - stops[offsets[document]]  # number of words of the document before this span
    inside = start < words[document]
    document, modality, start, lengths = document[inside], modality[inside], start[inside], lengths[inside]
    stop = np.minimum(start + lengths, words[document])
    return document, modality, first[document] + start, first[document] + stop


def _pieces(
    documents: Documents,
    vocabulary: Vocabulary,
    document: Integers,
    modality: Integers,
    start: Integers,
    stop: Integers,
    task: int,
) -> Pieces:
    """Make slices of words [start, stop); empty ones are dropped, and markers are set where the modality changes."""
    speech = modality == Modality.SPEECH
    source = np.where(speech, documents.speech_bounds[start], documents.text_bounds[start])
    length = np.where(speech, documents.speech_bounds[stop], documents.text_bounds[stop]) - source
    kept = length > 0
    if not kept.all():
        document, modality, source, length = document[kept], modality[kept], source[kept], length[kept]
    fresh = np.ones(len(document), dtype=bool)
    fresh[1:] = document[1:] != document[:-1]
    changed = fresh.copy()
    changed[1:] |= modality[1:] != modality[:-1]
    markers = np.array([vocabulary.text_marker, vocabulary.speech_marker], dtype=np.int32)
    marker = np.where(changed, markers[modality], np.int32(NO_MARKER))
    if task != NO_MARKER:  # the second half of a pair opens with [ASR] before text, [TTS] before speech
        marker = np.where(fresh, marker, (task + modality).astype(np.int32))
    return _delimited(Pieces(document, modality.astype(np.uint8), source, length, marker), fresh, vocabulary)


def _delimited(pieces: Pieces, fresh: npt.NDArray[np.bool_], vocabulary: Vocabulary) -> Pieces:
    """Insert the tokens that open and end a document around its pieces; `fresh` (P,) marks the first piece of each."""
    opens = np.flatnonzero(fresh)
    ends = np.append(opens[1:], len(fresh))[: len(opens)] - 1  # the last piece of each document
    places, beside, ids = [], [], []
    if vocabulary.begin_of_document is not None:
        places, beside, ids = [opens], [opens], [np.full(len(opens), vocabulary.begin_of_document, dtype=np.int32)]
    if vocabulary.end_of_document is not None:
        places, beside = [ends + 1, *places], [ends, *beside]  # where an end meets a beginning, it comes first
        ids = [np.full(len(ends), vocabulary.end_of_document, dtype=np.int32), *ids]
    if not places:
        return pieces
    place, neighbour = np.concatenate(places), np.concatenate(beside)
    return Pieces(
        document=np.insert(pieces.document, place, pieces.document[neighbour]),
        modality=np.insert(pieces.modality, place, pieces.modality[neighbour]),
        source=np.insert(pieces.source, place, pieces.source[neighbour]),
        length=np.insert(pieces.length, place, 0),
        marker=np.insert(pieces.marker, place, np.concatenate(ids)),
    )


def _ranges(first: Integers, end: Integers) -> Integers:
    """Concatenate range(first[i], end[i])."""
    offsets = bounds(end - first)
    return np.arange(offsets[-1], dtype=np.int64) + np.repeat(first - offsets[:-1], end - first)
