"""Conversion between pieces of text and speech and one sequence of tokens (Spirit LM, arXiv 2402.05755, section 3.1).

A modality token stands at the start and at every change of modality. Where the answer must have one modality, its token
ends the prompt.
Where the vocabulary has task markers (appendix A, ASR+TTS), these stand at the changes instead.

Shapes: R runs of equal units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np
import torch
from torch import Tensor

from spiritlm_pl.data.merge import Integers, split
from spiritlm_pl.generation.types import OutputModality
from spiritlm_pl.vocabulary import Modality, TokenKind, Vocabulary

FORCED: dict[OutputModality, Modality] = {"text": Modality.TEXT, "speech": Modality.SPEECH}


@dataclass(frozen=True)
class Segment:
    """A stretch of one modality.

    Attributes:
        modality: modality of the tokens.
        tokens: text token ids, or ids of all streams of speech in their order.
    """

    modality: Modality
    tokens: tuple[int, ...]


def encode_segments(segments: Sequence[Segment], vocabulary: Vocabulary, output: OutputModality = "any") -> list[int]:
    """Return the token ids of a prompt, ready to be continued in the output modality.

    Raises:
        ValueError: if there is nothing in the prompt.
    """
    if not any(segment.tokens for segment in segments):
        raise ValueError("prompt must hold at least one word or unit, but is empty instead")
    tokens: list[int] = []
    current: Modality | None = None
    for segment in segments:
        if not segment.tokens:
            continue
        if segment.modality is not current:
            opening = vocabulary.marker if current is None else vocabulary.change_marker
            tokens.append(opening(segment.modality))
            current = segment.modality
        tokens.extend(segment.tokens)
    wanted = FORCED.get(output)
    if wanted is not None and wanted is not current:
        tokens.append(vocabulary.change_marker(wanted))
    return tokens


def decode_tokens(
    tokens: Sequence[int], vocabulary: Vocabulary, min_speech_units: int = 0, continues: bool = False
) -> list[Segment]:
    """Split new tokens where their modality changes, with or without a modality token at the change.

    Args:
        tokens: generated ids, without the prompt and without what follows the end of the sequence.
        vocabulary: layout of the token ids.
        min_speech_units: smallest number of units (frames of the first stream) of a stretch of speech; shorter ones are
            dropped. It does not hold for speech at the beginning of the tokens, unless that continues speech.
        continues: whether the prompt ends with speech that the tokens continue.
    """
    kinds, end = (TokenKind.TEXT, TokenKind.SPEECH), vocabulary.end_of_document  # some servers give the end as well
    collapses = vocabulary.streams[0].deduplicated
    # Frames of codebooks do not go on beyond a modality token; units do, as the published models have it.
    breaks = accumulate(vocabulary.layout.framewise and vocabulary.kind(t) is TokenKind.MODALITY for t in tokens)
    said = [
        (token, (number, vocabulary.kind(token) is TokenKind.TEXT))
        for token, number in zip(tokens, breaks, strict=True)
        if vocabulary.kind(token) in kinds and token != end
    ]
    segments: list[Segment] = []
    for number, ((_, written), stretch) in enumerate(groupby(said, key=lambda item: item[1])):
        if written:
            segments.append(Segment(Modality.TEXT, tuple(token for token, _ in stretch)))
            continue
        kept, units = list[int](), list[int]()
        for token, _ in stretch:
            if vocabulary.counts_frames(token):
                if collapses and units and units[-1] == token:
                    continue
                units.append(token)
            kept.append(token)
        exempt = number == 0 and not continues
        if len(units) >= max(1, 0 if exempt else min_speech_units):
            segments.append(Segment(Modality.SPEECH, tuple(kept)))
    return segments


def speech_places(tokens: Sequence[int], vocabulary: Vocabulary) -> tuple[Integers, Integers]:
    """Return for each speech token id the number of its stream (N,), and its number within that stream (N,).

    Raises:
        ValueError: if an id is not of speech.
    """
    ids = np.array(tokens, dtype=np.int64)
    first, end = vocabulary.speech_bounds
    strange = (ids < first) | (ids >= end)
    if strange.any():
        names = ", ".join(vocabulary.layout.names)
        raise ValueError(f"tokens must be of speech ({names}), but {ids[strange][0]} is not")
    starts = np.array([vocabulary.bounds(name)[0] for name in vocabulary.layout.names], dtype=np.int64)
    streams = np.searchsorted(starts, ids, side="right") - 1
    return streams, ids - starts[streams]


def speech_codes(tokens: Sequence[int], vocabulary: Vocabulary) -> tuple[Tensor, Tensor, Tensor]:
    """Return the units (R,) in speech token ids, and the pitch and style code of each (R,), -1 for none.

    Raises:
        ValueError: if an id is not of speech.
    """
    found = split(vocabulary.layout.names, *speech_places(tokens, vocabulary))
    units, pitches, styles = (torch.from_numpy(part) for part in found)
    return units, pitches, styles


def units_of(tokens: Sequence[int], vocabulary: Vocabulary) -> Tensor | None:
    """Return the phonetic units (R,) in speech token ids; None if the vocabulary has no units.

    Raises:
        ValueError: if an id is not of speech.
    """
    return speech_codes(tokens, vocabulary)[0] if vocabulary.layout.phonetic else None


def speech_string(tokens: Sequence[int], vocabulary: Vocabulary) -> str:
    """Return the printed form of speech tokens, such as `[St81][Pi13][Hu78]`."""
    return "".join(vocabulary.name(token) or "" for token in tokens)
