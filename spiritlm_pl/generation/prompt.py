"""Encoding of prompts, which are pieces or a string of words and tokens, as token ids."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

from spiritlm_pl.conversations.template import USER, ConversationTemplate, Side
from spiritlm_pl.generation.codebooks import open_stretch
from spiritlm_pl.generation.codec import SpeechCodec
from spiritlm_pl.generation.dialogue import Dialogue, DialogueEncoder
from spiritlm_pl.generation.stream import FORCED, Segment, encode_segments, joined_segments, units_of
from spiritlm_pl.generation.types import OutputModality, Piece, Speech, Text
from spiritlm_pl.streams import spirit_lm_streams
from spiritlm_pl.vocabulary import Modality, TokenKind, Vocabulary

if TYPE_CHECKING:
    from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

SHOWN = 40  # largest number of characters of a wrong string in a message
MOST_SHOWN = 12  # characters that a warning names
SPIRIT_LM_PREFIXES = tuple(stream.prefix for stream in spirit_lm_streams(1, 1, 1))


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
        answers: how the template by which the prompt asks writes answers; None where the prompt is continued.
    """

    tokens: list[int]
    last: Modality
    speech: Speech | None
    stretch: tuple[int, ...] = ()
    answers: Side | None = None

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


def unknown_characters(prompt: Prompting, text_tokenizer: "TextTokenizer", vocabulary: Vocabulary) -> str:
    """Return the characters in the texts of a prompt that its tokenizer has no tokens for, each once.

    Args:
        prompt: pieces, a string of words and tokens, or turns.
        text_tokenizer: tokenizer of the texts.
        vocabulary: vocabulary of the tokens in a string.

    Raises:
        ValueError: if a string holds a token that the vocabulary lacks.
    """
    contents = [content for _, content in prompt.turns] if isinstance(prompt, Dialogue) else [prompt]
    parts = [parse_prompt(one, vocabulary) if isinstance(one, str) else one for one in contents]
    texts = " ".join(piece.text for pieces in parts for piece in pieces if isinstance(piece, Text))
    return text_tokenizer.unknown_characters(texts)


def told_of_unknown(characters: Iterable[str]) -> str | None:
    """Return a sentence on characters of prompts that a text tokenizer has no tokens for; None if there are none."""
    found = list(dict.fromkeys(characters))
    if not found:
        return None
    shown = " ".join(found[:MOST_SHOWN]) + (f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else "")
    return (
        f"the text tokenizer has no tokens for {shown}: the model reads them as bytes or as unknown, and may not "
        "understand them"
    )


def parse_speech(string: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Return the ids of printed speech tokens, such as `[St81][Pi13][Hu78]`.

    Raises:
        ValueError: if the string holds words, holds no unit, or holds a token outside the vocabulary.
    """
    pieces = parse_prompt(string, vocabulary)
    speech = pieces[0] if len(pieces) == 1 else None
    if (
        not isinstance(speech, Speech)
        or speech.tokens is None
        or not any(vocabulary.counts_frames(token) for token in speech.tokens)
    ):
        foreign = next((piece for piece in pieces if isinstance(piece, Text)), None)
        if foreign is not None and foreign.text.lstrip().startswith("["):
            raise not_speech(foreign.text, vocabulary)
        shown = string if len(string) <= SHOWN else f"{string[:SHOWN]}..."
        raise ValueError(f"tokens must be units such as [Hu12][Hu7] and nothing else, but are {shown!r} instead")
    return speech.tokens


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
        template: form in which prompts ask, as the user's turn; None to have them continued as they are.

    Raises:
        ValueError: if turns of the vocabulary cannot end, with a template.
    """

    def __init__(
        self, text_tokenizer: "TextTokenizer", codec: SpeechCodec, template: ConversationTemplate | None = None
    ) -> None:
        """Keep the parts."""
        self.text_tokenizer, self.codec, self.vocabulary = text_tokenizer, codec, codec.vocabulary
        self.asking = None if template is None else DialogueEncoder(template, text_tokenizer, codec)

    def encode(self, prompt: Prompting, output: OutputModality = "any", closed: bool = False) -> Prompt:
        """Encode a prompt.

        Args:
            prompt: pieces of text and speech, or a string in which `[Text]`, `[Speech]`, `[Hu5]` ... are tokens; or
                turns that the assistant is to answer. Words in a `Text` are never read as tokens.
            output: modality to be generated; its token is added if the prompt ends in another modality.
            closed: whether speech at the end is closed where codebooks are delayed, and not to be continued.

        Raises:
            ValueError: if the prompt is empty, needs a speech tokenizer that was not loaded, or has delayed codes in
                another order; or has turns, and there is no template.
        """
        if self.asking is not None or isinstance(prompt, Dialogue):
            asking, turns = self._turns(prompt)
            asked = Modality.TEXT if isinstance(turns[-1][1][-1], Text) else Modality.SPEECH
            return Prompt(asking.prompt(turns, output), asked, None, answers=asking.answers)
        verbatim = isinstance(prompt, str)
        if isinstance(prompt, str):
            published = self.text_tokenizer.encode_stream(prompt)
            if published is not None and token_pattern(self.vocabulary).match(prompt):
                return self._verbatim(published, output)
            prompt = parse_prompt(prompt, self.vocabulary)
        _check_pieces(prompt)
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

    def encode_answer(self, context: Prompting, answer: Prompting) -> tuple[list[int], list[int]]:
        """Encode a context with what follows it, which is the assistant's turn where a template asks.

        Args:
            context: prompt, as in `encode`.
            answer: what follows: a string if the context is a string, else pieces; of either kind with a template.

        Returns:
            Token ids of both, and those that close the answer: the end token, if there is one, behind what the template
            writes after answers.

        Raises:
            ValueError: as by `encode`, and if context and answer are of two kinds.
        """
        if self.asking is None and not isinstance(context, Dialogue):
            end = self.vocabulary.end_of_document
            return self.encode(_joined(context, answer), closed=True).tokens, [] if end is None else [end]
        if isinstance(answer, Dialogue):
            raise ValueError("answers must be strings or pieces, but one is a dialogue")
        asking, turns = self._turns(context)
        return asking.answered(turns, self._pieces(answer))

    def _turns(self, prompt: Prompting) -> tuple[DialogueEncoder, list[tuple[str, Sequence[Piece]]]]:
        """Return the encoder of turns, and those of a prompt, which is the user's if it has none."""
        if self.asking is None:
            raise ValueError("turns must be asked by a template, but there is none: SpiritLM.asked_by has one")
        given = prompt.turns if isinstance(prompt, Dialogue) else [(USER, prompt)]
        turns = [(role, self._pieces(content)) for role, content in given]
        if not turns or not turns[-1][1]:
            raise ValueError("prompt must hold turns with text or speech, but is empty instead")
        return self.asking, turns

    def _pieces(self, content: Sequence[Piece] | str) -> Sequence[Piece]:
        pieces = parse_prompt(content, self.vocabulary) if isinstance(content, str) else content
        _check_pieces(pieces)
        return pieces

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


def _check_pieces(pieces: Sequence[Piece]) -> None:
    strange = next((piece for piece in pieces if not isinstance(piece, Text | Speech)), None)
    if strange is not None:
        raise ValueError(f"a prompt must hold Text and Speech, or be one string, but holds {strange!r} instead")


def _joined(context: Sequence[Piece] | str, answer: Prompting) -> Sequence[Piece] | str:
    """Join a context and what follows it to one prompt.

    Raises:
        ValueError: if one is a string and the other is not.
    """
    if isinstance(context, str) and isinstance(answer, str):
        return context + answer
    if isinstance(context, str | Dialogue) or isinstance(answer, str | Dialogue):
        raise ValueError("context and hypotheses must both be strings or both be pieces, but are of both kinds")
    return [*context, *answer]
