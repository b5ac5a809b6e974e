"""Messages as chat servers have them (a role, and a text or a list of parts), as turns that a model answers."""

from collections.abc import Mapping
from typing import Any

from spiritlm_pl.conversations.readers import Audio, turns_of
from spiritlm_pl.conversations.record import Part
from spiritlm_pl.corpora.audio import load_audio_file
from spiritlm_pl.corpora.decoding import decode
from spiritlm_pl.generation.dialogue import Dialogue
from spiritlm_pl.generation.prompt import parse_speech
from spiritlm_pl.generation.types import Piece, Speech, Text
from spiritlm_pl.vocabulary import Vocabulary


def dialogue_of(values: Mapping[str, Any], vocabulary: Vocabulary) -> Dialogue:
    """Read `messages`, and `audios` beside them, in the forms that `spiritlm prepare conversations` reads.

    Args:
        values: object with messages.
        vocabulary: layout of the token ids, for speech that is given as tokens.

    Raises:
        ValueError: if the messages have none of the forms, or a part of a file lies beyond its end.
        OSError: if a file of which a part is meant cannot be read.
    """
    given = {name: values[name] for name in ("messages", "audios") if name in values}
    turns = turns_of(given)
    return Dialogue([(turn.role, [_piece(part, vocabulary) for part in turn.parts]) for turn in turns])


def _piece(part: Part | Audio, vocabulary: Vocabulary) -> Piece:
    if isinstance(part, Part):
        return Text(part.text) if part.text is not None else Speech(tokens=parse_speech(part.tokens or "", vocabulary))
    if part.content is not None:
        ((waveform, rate),) = decode(part.content, [(part.start, part.duration)])
        return Speech(waveform, rate)
    if part.start == 0 and part.duration is None:
        return Speech(part.path)
    return Speech(*load_audio_file(part.path or "", part.start, part.duration))
