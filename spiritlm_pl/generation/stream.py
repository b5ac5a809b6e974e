"""Between pieces and the one stream of tokens (Spirit LM, arXiv 2402.05755, section 3.1).

A modality token stands at the start and at every change of modality; a forced output modality opens its own.
Where the vocabulary has task markers (appendix A, ASR+TTS), these stand at the changes instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from spiritlm_pl.generation.pieces import OutputModality
from spiritlm_pl.vocabulary import Modality, TokenKind, Vocabulary

FORCED: dict[OutputModality, Modality] = {"text": Modality.TEXT, "speech": Modality.SPEECH}


@dataclass(frozen=True)
class Segment:
    """A stretch of one modality.

    Attributes:
        modality: of the values.
        values: text token ids, or phonetic units.
    """

    modality: Modality
    values: tuple[int, ...]


def encode_segments(segments: Sequence[Segment], vocabulary: Vocabulary, output: OutputModality = "any") -> list[int]:
    """Token ids of a prompt, ready to be continued in the output modality.

    Raises:
        ValueError: if there is nothing in the prompt, or a unit is outside the vocabulary.
    """
    if not any(segment.values for segment in segments):
        raise ValueError("prompt must hold at least one word or unit, but is empty instead")
    tokens: list[int] = []
    current: Modality | None = None
    for segment in segments:
        if not segment.values:
            continue
        if segment.modality is not current:
            opening = vocabulary.marker if current is None else vocabulary.change_marker
            tokens.append(opening(segment.modality))
            current = segment.modality
        if segment.modality is Modality.SPEECH:
            tokens.extend(vocabulary.unit_token(unit) for unit in segment.values)
        else:
            tokens.extend(segment.values)
    wanted = FORCED.get(output)
    if wanted is not None and wanted is not current:
        tokens.append(vocabulary.change_marker(wanted))
    return tokens


def decode_tokens(
    tokens: Sequence[int], vocabulary: Vocabulary, first: Modality, min_speech_units: int = 0
) -> list[Segment]:
    """Split new tokens where the modality changes.

    Args:
        tokens: generated ids, without the prompt and without what follows the end of the sequence.
        vocabulary: layout of the ids.
        first: modality of the stretch that the prompt left open.
        min_speech_units: stretches of speech opened by the model itself with fewer units are dropped.
    """
    segments: list[Segment] = []
    current, values, opened_here = first, list[int](), False

    def close() -> None:
        short = current is Modality.SPEECH and opened_here and len(values) < min_speech_units
        if values and not short:
            segments.append(Segment(current, tuple(values)))

    opened_by = vocabulary.opened_by()
    for token in tokens:
        if token in opened_by:
            if opened_by[token] is not current:
                close()
                current, values, opened_here = opened_by[token], [], True
            continue
        kind = vocabulary.kind(token)
        if kind is TokenKind.UNIT and current is Modality.SPEECH:
            unit = token - vocabulary.unit_offset
            if not values or values[-1] != unit:  # units are deduplicated
                values.append(unit)
        elif kind is TokenKind.TEXT and current is Modality.TEXT:
            values.append(token)
    close()
    return segments
