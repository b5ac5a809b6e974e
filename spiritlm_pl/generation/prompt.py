"""Encoding of prompts, which are pieces or a string of words and tokens, as token ids."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

from spiritlm_pl.conversations.record import Part, Turn
from spiritlm_pl.conversations.rendering import Renderer
from spiritlm_pl.conversations.template import LEARNT, ConversationTemplate
from spiritlm_pl.generation.codebooks import joined_speech, open_stretch
from spiritlm_pl.generation.codec import SpeechCodec
from spiritlm_pl.generation.stream import FORCED, Segment, encode_segments, joined_segments, units_of
from spiritlm_pl.generation.types import OutputModality, Piece, Speech, Text
from spiritlm_pl.streams import spirit_lm_streams
from spiritlm_pl.vocabulary import Modality, TokenKind, Vocabulary

if TYPE_CHECKING:
    from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

SPIRIT_LM_PREFIXES = tuple(stream.prefix for stream in spirit_lm_streams(1, 1, 1))


@dataclass(frozen=True, eq=False)
class Dialogue:
    """Turns of a conversation that a tuned model is to answer, as a prompt.

    Args:
        turns: role and pieces of each turn.
        template: how turns are written, which is that of the model's tuning.
    """

    turns: Sequence[tuple[str, Sequence[Piece]]]
    template: ConversationTemplate


Prompting: TypeAlias = Sequence[Piece] | str | Dialogue  # pieces, a string of words and tokens, or turns


@dataclass(frozen=True)
class Prompt:
    """Encoded prompt, ready to be continued.

    Attributes:
        tokens: token ids of the prompt.
        last: modality in which the prompt ends.
        speech: speech at the end of the prompt, which an answer may continue; None if it ends in text.
        stretch: tokens of the whole stretch of speech that is to be continued; where codebooks are delayed, `tokens`
            end before its closing steps. Empty if no speech is continued.
    """

    tokens: list[int]
    last: Modality
    speech: Speech | None
    stretch: tuple[int, ...] = ()

    def open_stretch(self, vocabulary: Vocabulary) -> tuple[int, ...]:
        """The part of the stretch at the end that `tokens` hold."""
        return open_stretch(self.stretch, vocabulary)


def token_pattern(vocabulary: Vocabulary) -> re.Pattern[str]:
    """Return the pattern of tokens in a string, with groups for a modality, or prefix, codebook and code of speech.

    The prefixes of Spirit LM's streams are tokens for every model, so that a Base model refuses those of Expressive.
    """
    prefixes = "|".join(dict.fromkeys([*(stream.prefix for stream in vocabulary.streams), *SPIRIT_LM_PREFIXES]))
    return re.compile(rf"\[(?:(Text|Speech)|({prefixes})(?:(\d+)_)?(\d+))\]")


def speech_token(match: re.Match[str], vocabulary: Vocabulary) -> int:
    """Return the id of the speech token that a match of `token_pattern` found.

    Raises:
        ValueError: if the vocabulary has no such token, or a number in it has leading zeros.
    """
    _, prefix, codebook, code = match.groups()
    if any(number is not None and str(int(number)) != number for number in (codebook, code)):
        raise ValueError(f"speech tokens must be written without leading zeros, but one is {match[0]} instead")
    stream = next((stream for stream in vocabulary.streams if stream.prefix == prefix), None)
    if stream is None:
        what = "a Base model" if vocabulary.layout.phonetic else "the model's streams"
        raise ValueError(f"tokens must be those of {what}, but one is {match[0]}")
    if (codebook is not None) != (stream.num_codebooks > 1):
        raise ValueError(f"tokens of {stream.name} must be as {stream.token_name(0)}, but one is {match[0]} instead")
    if int(codebook or 0) >= stream.num_codebooks:
        raise ValueError(f"codebooks of {prefix} must be below {stream.num_codebooks}, but one is {match[0]} instead")
    if int(code) >= stream.size:
        raise ValueError(f"{prefix} must be below {stream.size}, but one is {match[0]} instead")
    return vocabulary.token(stream.name, int(code), int(codebook or 0))


def parse_prompt(string: str, vocabulary: Vocabulary) -> list[Piece]:
    """Split a string of words and tokens, such as `[Speech][Hu3][Hu7][Text]the cat`, into pieces.

    Raises:
        ValueError: if the string holds a speech token that the vocabulary lacks, or words after a `[Speech]`.
    """
    pieces: list[Piece] = []
    place = 0
    opened: str | None = None  # modality that the token before the words has announced, if it is a modality token
    speech: list[int] = []

    def close() -> None:
        if speech:
            pieces.append(Speech(units=units_of(speech, vocabulary), tokens=tuple(speech)))
            speech.clear()

    for match in token_pattern(vocabulary).finditer(string):
        words, place = string[place : match.start()], match.end()
        if words.strip() or match[1]:
            close()
        if words.strip():
            _check_not_speech(opened, words)
            pieces.append(Text(words))
        opened = match[1]
        if match[2]:
            speech.append(speech_token(match, vocabulary))
    close()
    if string[place:].strip():
        _check_not_speech(opened, string[place:])
        pieces.append(Text(string[place:]))
    return pieces


def not_speech(text: str, vocabulary: Vocabulary) -> ValueError:
    """Return the error for text where tokens of speech must stand, which may be tokens of another model."""
    token = re.match(r"\s*(\[[A-Za-z]+(?:\d+_)?\d+\])", text)
    if token is None:
        return ValueError(f"tokens must be those of speech and nothing else, but hold {text[:40]!r}")
    own = " and ".join(stream.token_name(0) for stream in vocabulary.streams)
    return ValueError(f"tokens must be those of the model's streams, such as {own}, but one is {token[1]}")


def _check_not_speech(opened: str | None, words: str) -> None:
    if opened == "Speech":
        raise ValueError(
            f"[Speech] must be followed by speech tokens, but is followed by {words.strip()[:30]!r} instead"
        )


class PromptEncoder:
    """Encoder that turns prompts into token ids.

    Args:
        text_tokenizer: tokenizer of the text in prompts.
        codec: codec that tokenizes speech, with the vocabulary of all tokens.
    """

    def __init__(self, text_tokenizer: "TextTokenizer", codec: SpeechCodec) -> None:
        """Keep the parts."""
        self.text_tokenizer, self.codec, self.vocabulary = text_tokenizer, codec, codec.vocabulary

    def encode(self, prompt: Prompting, output: OutputModality = "any", closed: bool = False) -> Prompt:
        """Encode a prompt.

        Args:
            prompt: pieces of text and speech, or a string in which `[Text]`, `[Speech]`, `[Hu5]` ... are tokens; or
                turns that the assistant is to answer. Words in a `Text` are never read as tokens.
            output: modality to be generated; its token is added if the prompt ends in another modality.
            closed: whether speech at the end is closed where codebooks are delayed, and not to be continued.

        Raises:
            ValueError: if the prompt is empty, needs a speech tokenizer that was not loaded, or has delayed codes in
                another order.
        """
        if isinstance(prompt, Dialogue):
            return self._dialogue(prompt, output)
        verbatim = isinstance(prompt, str)
        if isinstance(prompt, str):
            published = self.text_tokenizer.encode_stream(prompt)
            if published is not None and token_pattern(self.vocabulary).match(prompt):
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
        segments = joined_segments(segments, self.vocabulary)
        tokens = [
            *self.text_tokenizer.opening,
            *self.vocabulary.opening,
            *encode_segments(segments, self.vocabulary, output, closed),
        ]
        last = segments[-1]
        continued = last.modality is Modality.SPEECH and output != "text" and not closed
        return Prompt(tokens, last.modality, speech, last.tokens if continued else ())

    def _dialogue(self, prompt: Dialogue, output: OutputModality) -> Prompt:
        """Encode turns, and the beginning of the assistant's, which answers in a stretch of its own."""
        pieces = [piece for _, members in prompt.turns for piece in members]
        if not pieces:
            raise ValueError("prompt must hold turns with text or speech, but is empty instead")
        spoken = {str(place): piece for place, piece in enumerate(pieces) if isinstance(piece, Speech)}
        numbers = iter(range(len(pieces)))
        renderer = Renderer(
            prompt.template,
            self.text_tokenizer,
            self.vocabulary,
            lambda part: joined_speech([self.codec.encode(spoken[part.utterance or ""]).tokens or ()], self.vocabulary),
        )
        tokens = [*self.text_tokenizer.opening, *self.vocabulary.opening]
        for role, members in prompt.turns:
            parts = [_part(piece, str(next(numbers))) for piece in members]
            tokens += renderer.turn(Turn(role, tuple(parts)))[0]
        header = renderer.header(LEARNT)
        wanted = FORCED.get(output)
        if wanted is not None and not (header and wanted is Modality.TEXT):
            header += (self.vocabulary.change_marker(wanted),) if header else self.vocabulary.opened(wanted)
        last = Modality.TEXT if isinstance(pieces[-1], Text) else Modality.SPEECH
        return Prompt([*tokens, *header], last, None)

    def _verbatim(self, tokens: list[int], output: OutputModality) -> Prompt:
        """Build a prompt from given ids, with the modality and speech at its end."""
        opened_by = self.vocabulary.opened_by()
        place = max((number for number, token in enumerate(tokens) if token in opened_by), default=-1)
        last = opened_by[tokens[place]] if place >= 0 else Modality.TEXT
        spoken = tuple(token for token in tokens[place + 1 :] if self.vocabulary.kind(token) is TokenKind.SPEECH)
        speech = None
        if last is Modality.SPEECH and spoken:
            speech = Speech(units=units_of(spoken, self.vocabulary), tokens=spoken)
        wanted = FORCED.get(output)
        if wanted is not None and wanted is not last:
            tokens = [*tokens, self.vocabulary.change_marker(wanted)]
        return Prompt(tokens, last, speech)


def _part(piece: Piece, number: str) -> Part:
    return Part(text=piece.text) if isinstance(piece, Text) else Part(utterance=number)
