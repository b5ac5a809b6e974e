"""From what a user gives (pieces, or a string of words and tokens) to the token ids that are to be continued."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

from spiritlm_pl.generation.codec import SpeechCodec
from spiritlm_pl.generation.stream import FORCED, SPEECH_KINDS, Segment, encode_segments, speech_codes
from spiritlm_pl.generation.types import OutputModality, Piece, Speech, Text
from spiritlm_pl.vocabulary import Modality, Vocabulary

if TYPE_CHECKING:
    from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

Prompting: TypeAlias = Sequence[Piece] | str  # pieces, or a string of words and tokens
_TOKEN = re.compile(r"\[(?:(Text|Speech)|(Hu|Pi|St)(\d+))\]")


@dataclass(frozen=True)
class Prompt:
    """A prompt, ready to be continued.

    Attributes:
        tokens: ids.
        last: modality in which it ends.
        speech: the speech at its end, which an answer may continue.
    """

    tokens: list[int]
    last: Modality
    speech: Speech | None


def parse_prompt(string: str, vocabulary: Vocabulary) -> list[Piece]:
    """Pieces of a string of words and tokens, such as `[Speech][Hu3][Hu7][Text]the cat`.

    Raises:
        ValueError: if it holds a speech token that the vocabulary has not, or a `[Speech]` that words follow.
    """
    pieces: list[Piece] = []
    starts = {"Hu": vocabulary.unit_offset, "Pi": vocabulary.pitch_offset, "St": vocabulary.style_offset}
    sizes = {"Hu": vocabulary.num_units, "Pi": vocabulary.num_pitches, "St": vocabulary.num_styles}
    place = 0
    opened: str | None = None  # by the token before the words, if they follow a modality token
    speech: list[int] = []

    def close() -> None:
        if speech:
            pieces.append(Speech(units=speech_codes(speech, vocabulary)[0], tokens=tuple(speech)))
            speech.clear()

    for match in _TOKEN.finditer(string):
        words, place = string[place : match.start()], match.end()
        if words.strip() or match[1]:
            close()
        if words.strip():
            _check_not_speech(opened, words)
            pieces.append(Text(words))
        opened = match[1]
        if match[2]:
            if str(int(match[3])) != match[3]:
                raise ValueError(f"speech tokens must be written without leading zeros, but one is {match[0]} instead")
            value = int(match[3])
            if value >= sizes[match[2]]:
                raise ValueError(
                    f"{match[2]} must be below {sizes[match[2]]}, but one is {match[0]} instead"
                    if sizes[match[2]]
                    else f"tokens must be those of a Base model, but one is {match[0]}"
                )
            speech.append(starts[match[2]] + value)
    close()
    if string[place:].strip():
        _check_not_speech(opened, string[place:])
        pieces.append(Text(string[place:]))
    return pieces


def _check_not_speech(opened: str | None, words: str) -> None:
    if opened == "Speech":
        raise ValueError(
            f"[Speech] must be followed by speech tokens, but is followed by {words.strip()[:30]!r} instead"
        )


class PromptEncoder:
    """Token ids of prompts.

    Args:
        text_tokenizer: for words.
        codec: for speech, with the vocabulary.
    """

    def __init__(self, text_tokenizer: "TextTokenizer", codec: SpeechCodec) -> None:
        """Keep the parts."""
        self.text_tokenizer, self.codec, self.vocabulary = text_tokenizer, codec, codec.vocabulary

    def encode(self, prompt: Prompting, output: OutputModality = "any") -> Prompt:
        """Encode a prompt.

        Args:
            prompt: pieces of text and speech, or a string in which `[Text]`, `[Speech]`, `[Hu5]` ... are tokens. What
                a `Text` holds is never read as a token.
            output: what is to be generated; its modality token is added where the prompt ends in another.

        Raises:
            ValueError: if the prompt is empty or needs a speech tokenizer that was not loaded.
        """
        verbatim = isinstance(prompt, str)
        if isinstance(prompt, str):
            published = self.text_tokenizer.encode_stream(prompt)
            if published is not None and _TOKEN.match(prompt):
                return self._verbatim(published, output)
            prompt = parse_prompt(prompt, self.vocabulary)
        strange = next((piece for piece in prompt if not isinstance(piece, Text | Speech)), None)
        if strange is not None:
            raise ValueError(f"a prompt must hold Text and Speech, or be one string, but holds {strange!r} instead")
        segments: list[Segment] = []
        speech: Speech | None = None
        for written, pieces in groupby(prompt, key=lambda piece: isinstance(piece, Text)):
            if written:
                text = self.text_tokenizer.joint.join(piece.text for piece in pieces if isinstance(piece, Text))
                continuing = bool(segments) and not verbatim
                segments.append(Segment(Modality.TEXT, tuple(self.text_tokenizer.encode(text, continuing))))
                speech = None
            else:
                for piece in pieces:
                    assert isinstance(piece, Speech)
                    speech = self.codec.encode(piece)
                    assert speech.tokens is not None
                    segments.append(Segment(Modality.SPEECH, speech.tokens))
        tokens = [
            *self.text_tokenizer.opening,
            *self.vocabulary.opening,
            *encode_segments(segments, self.vocabulary, output),
        ]
        last = next(segment.modality for segment in reversed(segments) if segment.tokens)
        return Prompt(tokens, last, speech)

    def _verbatim(self, tokens: list[int], output: OutputModality) -> Prompt:
        """A prompt of ids, and what its end means."""
        opened_by = self.vocabulary.opened_by()
        place = max((number for number, token in enumerate(tokens) if token in opened_by), default=-1)
        last = opened_by[tokens[place]] if place >= 0 else Modality.TEXT
        spoken = tuple(token for token in tokens[place + 1 :] if self.vocabulary.kind(token) in SPEECH_KINDS)
        speech = None
        if last is Modality.SPEECH and spoken:
            speech = Speech(units=speech_codes(spoken, self.vocabulary)[0], tokens=spoken)
        wanted = FORCED.get(output)
        if wanted is not None and wanted is not last:
            tokens = [*tokens, self.vocabulary.change_marker(wanted)]
        return Prompt(tokens, last, speech)
