"""Between pieces and the one stream of tokens (Spirit LM, arXiv 2402.05755, section 3.1).

A modality token stands at the start and at every change of modality; a forced output modality opens its own.
Where the vocabulary has task markers (appendix A, ASR+TTS), these stand at the changes instead.

Shapes: R runs of equal units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from spiritlm_pl.data.merge import split
from spiritlm_pl.generation.types import OutputModality
from spiritlm_pl.vocabulary import Modality, TokenKind, Vocabulary

SPEECH_KINDS = (TokenKind.UNIT, TokenKind.PITCH, TokenKind.STYLE)
FORCED: dict[OutputModality, Modality] = {"text": Modality.TEXT, "speech": Modality.SPEECH}


@dataclass(frozen=True)
class Segment:
    """A stretch of one modality.

    Attributes:
        modality: of the values.
        tokens: text token ids, or ids of units, and of pitch and style among them.
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
        min_speech_units: speech with fewer units is dropped, but for a first stretch that continues no speech.
        continues: whether the tokens continue speech.
    """
    kinds, end = (TokenKind.TEXT, *SPEECH_KINDS), vocabulary.end_of_document  # some servers give the end as well
    said = [token for token in tokens if vocabulary.kind(token) in kinds and token != end]
    segments: list[Segment] = []
    stretches = groupby(said, key=lambda token: vocabulary.kind(token) is TokenKind.TEXT)
    for number, (written, stretch) in enumerate(stretches):
        if written:
            segments.append(Segment(Modality.TEXT, tuple(stretch)))
            continue
        kept, units = list[int](), list[int]()
        for token in stretch:
            if vocabulary.kind(token) is TokenKind.UNIT:
                if units and units[-1] == token:  # units are deduplicated
                    continue
                units.append(token)
            kept.append(token)
        exempt = number == 0 and not continues
        if len(units) >= max(1, 0 if exempt else min_speech_units):
            segments.append(Segment(Modality.SPEECH, tuple(kept)))
    return segments


def speech_codes(tokens: Sequence[int], vocabulary: Vocabulary) -> tuple[Tensor, Tensor, Tensor]:
    """Units (R,), and the pitch and the style of each (R,), of speech token ids; -1 where there is none.

    Raises:
        ValueError: if an id is not of speech.
    """
    ids = np.array(tokens, dtype=np.int64)
    known = np.zeros(len(ids), dtype=bool)
    kinds, values = np.full(len(ids), TokenKind.UNIT, dtype=np.int64), np.zeros_like(ids)
    for kind in SPEECH_KINDS:
        start, end = vocabulary.kind_bounds()[kind]
        chosen = (ids >= start) & (ids < end)
        kinds[chosen], values[chosen] = kind, ids[chosen] - start
        known |= chosen
    if not known.all():
        raise ValueError(f"tokens must be units, pitch or style codes, but {ids[~known][0]} is none of them")
    units, pitches, styles = (torch.from_numpy(part) for part in split(kinds, values))
    return units, pitches, styles


def speech_string(tokens: Sequence[int], vocabulary: Vocabulary) -> str:
    """Printed form of speech tokens, such as `[St81][Pi13][Hu78]`."""
    return "".join(vocabulary.name(token) or "" for token in tokens)
