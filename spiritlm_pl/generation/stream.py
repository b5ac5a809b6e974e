"""Conversion between pieces of text and speech and one sequence of tokens (Spirit LM, arXiv 2402.05755, section 3.1).

A modality token stands at the start and at every change of modality. Where the answer must have one modality, its token
ends the prompt.
Where the vocabulary has task markers (appendix A, ASR+TTS), these stand at the changes instead.

Shapes: R runs of equal units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import torch
from torch import Tensor

from spiritlm_pl.data.merge import speech_places, units_with_expression
from spiritlm_pl.generation.codebooks import codebook_frames, joined_speech, open_stretch, stretch_tokens
from spiritlm_pl.generation.types import OutputModality
from spiritlm_pl.vocabulary import Modality, TokenKind, Vocabulary

FORCED: dict[OutputModality, Modality] = {"text": Modality.TEXT, "speech": Modality.SPEECH}


@dataclass(frozen=True)
class Segment:
    """A stretch of one modality.

    Attributes:
        modality: of the values.
        tokens: text token ids, or ids of all streams of speech in their order; with delays, a whole stretch.
        continues: whether it goes on with the speech at the end of a prompt.
    """

    modality: Modality
    tokens: tuple[int, ...]
    continues: bool = False


def joined_segments(segments: Sequence[Segment], vocabulary: Vocabulary) -> list[Segment]:
    """Join neighbours of one modality, and leave out empty ones.

    Raises:
        ValueError: if the codes of delayed codebooks are not in their order.
    """
    joined: list[Segment] = []
    there = [segment for segment in segments if segment.tokens]
    for modality, group in groupby(there, key=lambda segment: segment.modality):
        parts = [segment.tokens for segment in group]
        if modality is Modality.SPEECH:
            joined.append(Segment(modality, joined_speech(parts, vocabulary)))
        else:
            joined.append(Segment(modality, tuple(token for part in parts for token in part)))
    return [segment for segment in joined if segment.tokens]


def encode_segments(
    segments: Sequence[Segment], vocabulary: Vocabulary, output: OutputModality = "any", closed: bool = False
) -> list[int]:
    """Token ids of a prompt, ready to be continued in the output modality.

    Where codebooks are delayed and the prompt ends in speech, its closing steps are left out unless text is to follow.

    Args:
        segments: stretches of text and speech; neighbours of one modality become one.
        vocabulary: layout of the ids.
        output: modality to be generated; its token is added if the prompt ends in another modality.
        closed: whether a stretch of speech at the end has its closing steps, too.

    Raises:
        ValueError: if there is nothing in the prompt, or the codes of delayed codebooks are not in their order.
    """
    segments = joined_segments(segments, vocabulary)
    if not segments:
        raise ValueError("prompt must hold at least one word or unit, but is empty instead")
    last, wanted = segments[-1], FORCED.get(output)
    tokens: list[int] = []
    for number, segment in enumerate(segments):
        modality = segment.modality
        tokens.extend([vocabulary.change_marker(modality)] if number else vocabulary.opened(modality))
        goes_on = segment is last and wanted in (None, segment.modality) and not closed
        is_open = goes_on and segment.modality is Modality.SPEECH
        tokens.extend(open_stretch(segment.tokens, vocabulary) if is_open else segment.tokens)
    if wanted is not None and wanted is not last.modality:
        tokens.append(vocabulary.change_marker(wanted))
    return tokens


def decode_tokens(
    tokens: Sequence[int],
    vocabulary: Vocabulary,
    min_speech_units: int = 0,
    continues: bool = False,
    before: Sequence[int] = (),
) -> list[Segment]:
    """Split new tokens where their modality changes, with or without a modality token at the change.

    Where codebooks are delayed, each segment of speech becomes a whole stretch of the frames that are new in it; frames
    that lack a code are left out, such as those whose last steps were cut off.

    Args:
        tokens: generated ids, without the prompt and without what follows the end of the sequence.
        vocabulary: layout of the ids.
        min_speech_units: speech with fewer units (frames of the first stream) is dropped, but for a first stretch that
            continues no speech.
        continues: whether the tokens continue speech.
        before: the stretch that they continue, up to its closing steps; only delayed codebooks need it.
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
        goes_on = number == 0 and continues
        count = len(units)
        if vocabulary.layout.delays:
            frames = codebook_frames(kept, vocabulary, before if goes_on else ())
            kept, count = list(stretch_tokens(frames, vocabulary)), len(frames)
        if count >= max(1, min_speech_units if number or goes_on else 0):
            segments.append(Segment(Modality.SPEECH, tuple(kept), goes_on))
    return segments


def speech_codes(tokens: Sequence[int], vocabulary: Vocabulary) -> tuple[Tensor, Tensor, Tensor]:
    """Return the units (R,) in speech token ids, and the pitch and style code of each (R,), -1 for none.

    Raises:
        ValueError: if an id is not of speech.
    """
    found = units_with_expression(vocabulary.layout.names, *speech_places(tokens, vocabulary))
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
