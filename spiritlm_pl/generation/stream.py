"""Between pieces and the one stream of tokens (Spirit LM, arXiv 2402.05755, section 3.1).

A modality token stands at the start and at every change of modality; a forced output modality opens its own.
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
        modality: of the values.
        tokens: text token ids, or ids of all streams of speech in their order.
    """

    modality: Modality
    tokens: tuple[int, ...]


def encode_segments(segments: Sequence[Segment], vocabulary: Vocabulary, output: OutputModality = "any") -> list[int]:
    """Token ids of a prompt, ready to be continued in the output modality.

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
    """Split new tokens where their modality changes, whether or not a modality token says so.

    Args:
        tokens: generated ids, without the prompt and without what follows the end of the sequence.
        vocabulary: layout of the ids.
        min_speech_units: speech with fewer units (frames of the first stream) is dropped, but for a first stretch that
            continues no speech.
        continues: whether the tokens continue speech.
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
    """Find the stream of each speech token id (N,), by its place in the vocabulary, and its place in that stream (N,).

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
    """Units (R,) of Spirit LM, and the pitch and the style of each (R,), of speech token ids; -1 where there is none.

    Raises:
        ValueError: if an id is not of speech.
    """
    found = split(vocabulary.layout.names, *speech_places(tokens, vocabulary))
    units, pitches, styles = (torch.from_numpy(part) for part in found)
    return units, pitches, styles


def units_of(tokens: Sequence[int], vocabulary: Vocabulary) -> Tensor | None:
    """Phonetic units (R,) of speech token ids; None where a vocabulary has none.

    Raises:
        ValueError: if an id is not of speech.
    """
    return speech_codes(tokens, vocabulary)[0] if vocabulary.layout.phonetic else None


def speech_string(tokens: Sequence[int], vocabulary: Vocabulary) -> str:
    """Printed form of speech tokens, such as `[St81][Pi13][Hu78]`."""
    return "".join(vocabulary.name(token) or "" for token in tokens)
