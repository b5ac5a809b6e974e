"""Turns of a conversation as prompts, in the form that a model was tuned on, and the answers to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from spiritlm_pl.conversations.record import Part, Turn
from spiritlm_pl.conversations.rendering import Renderer
from spiritlm_pl.conversations.template import LEARNT, ConversationTemplate, Side
from spiritlm_pl.generation.codebooks import joined_speech
from spiritlm_pl.generation.codec import SpeechCodec
from spiritlm_pl.generation.stream import FORCED
from spiritlm_pl.generation.types import OutputModality, Piece, Speech, Text
from spiritlm_pl.vocabulary import Modality

if TYPE_CHECKING:
    from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

Pieces: TypeAlias = Sequence[Piece]


@dataclass(frozen=True, eq=False)
class Dialogue:
    """Turns of a conversation that a tuned model is to answer, as a prompt.

    Args:
        turns: role and content of each turn: pieces, or a string of words and tokens.
    """

    turns: Sequence[tuple[str, Pieces | str]]


@dataclass(frozen=True, kw_only=True)
class _Spoken(Part):
    """Part that is a piece of speech, which need not be of a corpus."""

    piece: Speech


class DialogueEncoder:
    """Encoder of turns by a template.

    Args:
        template: how turns are written, which is that of the model's tuning.
        text_tokenizer: tokenizer of the text in turns.
        codec: codec that tokenizes speech, with the vocabulary of all tokens.

    Raises:
        ValueError: if the vocabulary has no token that ends documents, or has task markers.
    """

    def __init__(self, template: ConversationTemplate, text_tokenizer: "TextTokenizer", codec: SpeechCodec) -> None:
        """Check that turns can end."""
        self.codec, self.vocabulary = codec, codec.vocabulary
        self.opening = (*text_tokenizer.opening, *self.vocabulary.opening)
        self.answers = template.side(LEARNT)
        self.renderer = Renderer(template, text_tokenizer, self.vocabulary, self._tokens)

    def prompt(self, turns: Sequence[tuple[str, Pieces]], output: OutputModality) -> list[int]:
        """Return the token ids of turns, and of the beginning of the assistant's, which is to follow.

        Args:
            turns: role and pieces of each turn, at least one.
            output: modality to be generated, whose token is added.

        Raises:
            ValueError: if a turn is empty or of a role that the template lacks, or the last one is the assistant's.
        """
        header = self.renderer.header(LEARNT)
        wanted = FORCED.get(output)
        if wanted is not None and not (header and wanted is Modality.TEXT):
            header += (self.vocabulary.change_marker(wanted),) if header else self.vocabulary.opened(wanted)
        return [*self._asked(turns), *header]

    def answered(self, turns: Sequence[tuple[str, Pieces]], answer: Pieces) -> tuple[list[int], list[int]]:
        """Return the token ids of turns with an answer, and those that close the answer's turn.

        Args:
            turns: role and pieces of each turn.
            answer: pieces of the answer.

        Raises:
            ValueError: as by `prompt`, and if the answer is empty.
        """
        said, last = self._said(LEARNT, answer)
        return [*self._asked(turns), *said], self.renderer.closing(LEARNT, last)

    def _asked(self, turns: Sequence[tuple[str, Pieces]]) -> list[int]:
        if turns[-1][0] == LEARNT:
            raise ValueError(f"the last turn must be one that {LEARNT} answers, but is one of {LEARNT} itself")
        tokens = [*self.opening]
        for role, pieces in turns:
            said, last = self._said(role, pieces)
            tokens += [*said, *self.renderer.closing(role, last)]
        return tokens

    def _said(self, role: str, pieces: Pieces) -> tuple[list[int], Modality | None]:
        """Return the token ids of a turn up to what closes it, and the modality of the last ones."""
        if not any(isinstance(piece, Speech) or piece.text.strip() for piece in pieces):
            raise ValueError(f"turns must hold text or speech, but one of {role} is empty")
        parts = (
            Part(text=one.text) if isinstance(one, Text) else _Spoken(utterance="given", piece=one) for one in pieces
        )
        said, _, last = self.renderer.said(Turn(role, tuple(parts)))
        return said, last

    def _tokens(self, part: Part) -> tuple[int, ...]:
        assert isinstance(part, _Spoken)
        return joined_speech([self.codec.encode(part.piece).tokens or ()], self.vocabulary)


def within(text: str, side: Side, first: bool, ended: bool = True) -> str:
    """Return what is said in a stretch of an answer, without the texts that a template writes around the turn.

    Args:
        text: text of the stretch so far.
        side: how the template writes the turns of the answer's role.
        first: whether the answer begins with the stretch, so that a text before the turn may stand in it.
        ended: whether the stretch is whole; otherwise what may become part of a text around the turn is left out.
    """
    if first and side.before and not side.given:
        begun = text.lstrip()
        if begun.startswith(side.before):
            text = begun.removeprefix(side.before).lstrip()
        elif not ended and side.before.startswith(begun):
            return ""
    if not side.after:
        return text
    said = text.rstrip()
    if ended:
        return said.removesuffix(side.after).rstrip() if said.endswith(side.after) else text
    sizes = range(min(len(side.after), len(said)), 0, -1)
    held = next((size for size in sizes if side.after.startswith(said[-size:])), 0)
    return said[: len(said) - held].rstrip()
