"""Rendering: a conversation becomes token ids, with a mask of those that are learnt.

A turn opens with the modality token of its first words or units, and a change of modality within it has a modality
token as in any document (Spirit LM, section 3.1). Of a turn that is learnt, the model learns what it would have to
generate: its words and units with the modality tokens between them, the text of the template after it, and the end
token; and the text of the template before it, unless prompts give that.

Shapes: N tokens, T turns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spiritlm_pl.conversations.record import Conversation, Part, Turn
from spiritlm_pl.conversations.template import ConversationTemplate
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Modality, Vocabulary

SpeechOf = Callable[[Part], Sequence[int]]  # token ids of a stretch of speech, in steps where codebooks are delayed


@dataclass(frozen=True, eq=False)
class Rendered:
    """Token ids of a conversation.

    Attributes:
        tokens: token ids (N,).
        learnt: whether each token is learnt (N,), bool.
        turns: number of tokens of each turn (T,); the first turn has the token that opens documents, too.
    """

    tokens: npt.NDArray[np.int64]
    learnt: npt.NDArray[np.bool_]
    turns: npt.NDArray[np.int64]


class Renderer:
    """Renderer of conversations.

    Args:
        template: how turns are written.
        tokenizer: text tokenizer of the language model.
        vocabulary: layout of the token ids.
        speech: function that returns the token ids of a part that is speech.

    Raises:
        ValueError: if the vocabulary has no token that ends documents, or task markers, with which the beginning of an
            answer would depend on what is asked.
    """

    def __init__(
        self, template: ConversationTemplate, tokenizer: TextTokenizer, vocabulary: Vocabulary, speech: SpeechOf
    ) -> None:
        """Check that turns can end."""
        if vocabulary.end_of_document is None:
            raise ValueError(
                "vocabulary must have a token that ends documents, with which turns end, but has none "
                "(--end-of-document true)"
            )
        if vocabulary.num_tasks:
            raise ValueError(f"vocabulary must have no task markers for conversations, but has {vocabulary.num_tasks}")
        self.template, self.tokenizer, self.vocabulary, self.speech = template, tokenizer, vocabulary, speech
        self.end: int = vocabulary.end_of_document

    def __call__(self, conversation: Conversation) -> Rendered:
        """Render a conversation.

        Raises:
            ValueError: if the template lacks one of its roles, or a part has no tokens.
        """
        opening = (*self.tokenizer.opening, *self.vocabulary.opening)
        tokens, learnt, counts = [*opening], [False] * len(opening), []
        for number, turn in enumerate(conversation.turns):
            before = len(tokens) if number else 0
            ids, mask = self.turn(turn)
            tokens += ids
            learnt += mask
            counts.append(len(tokens) - before)
        return Rendered(
            np.array(tokens, dtype=np.int64), np.array(learnt, dtype=bool), np.array(counts, dtype=np.int64)
        )

    def header(self, role: str) -> list[int]:
        """Return the token ids with which a prompt begins the turn of a role; none where prompts give nothing of it."""
        side = self.template.side(role)
        text = self._text(side.before, None) if side.given else []
        return [*self.vocabulary.opened(Modality.TEXT), *text] if text else []

    def turn(self, turn: Turn) -> tuple[list[int], list[bool]]:
        """Return the token ids of a turn, and whether each is learnt.

        Raises:
            ValueError: if the template lacks its role, or a part has no tokens.
        """
        tokens, learnt, last = self.said(turn)
        closing = self.closing(turn.role, last)
        return [*tokens, *closing], [*learnt, *[turn.learns(turn.parts[-1])] * len(closing)]

    def said(self, turn: Turn) -> tuple[list[int], list[bool], Modality | None]:
        """Return the token ids of a turn up to what closes it, whether each is learnt, and the modality of the last.

        Raises:
            ValueError: as by `turn`.
        """
        side = self.template.side(turn.role)
        tokens: list[int] = []
        learnt: list[bool] = []
        last: Modality | None = None

        def add(modality: Modality, ids: Sequence[int], learn: bool) -> None:
            nonlocal last
            if not ids:
                return
            if last is None:
                ids = [*self.vocabulary.opened(modality), *ids]
            elif modality is not last:
                ids = [self.vocabulary.change_marker(modality), *ids]
            last = modality
            tokens.extend(ids)
            learnt.extend([learn] * len(ids))

        add(Modality.TEXT, self._text(side.before, last), not side.given and turn.learns(turn.parts[0]))
        for part in turn.parts:
            if part.text is not None:
                add(Modality.TEXT, self._text(part.text, last), turn.learns(part))
            elif not part.empty:
                add(Modality.SPEECH, self.speech(part), turn.learns(part))
        return tokens, learnt, last

    def closing(self, role: str, last: Modality | None) -> list[int]:
        """Return the token ids that close a turn: the text of the template after it, and the end token.

        Args:
            role: role of the turn.
            last: modality in which the turn ends; None if it holds nothing.
        """
        side = self.template.side(role)
        after = self._text(side.after, last)
        if after and last is not Modality.TEXT:
            opened = self.vocabulary.opened(Modality.TEXT)
            after = [*(opened if last is None else [self.vocabulary.change_marker(Modality.TEXT)]), *after]
        return [*after, *([self.end] if side.ends else [])]

    def _text(self, text: str, last: Modality | None) -> list[int]:
        """Encode a text without white space around it, after what its turn has so far, as prompts have it."""
        text = text.strip()
        if not text or last is None:
            return self.tokenizer.encode(text) if text else []
        if self.tokenizer.joint:
            return self.tokenizer.encode(text, continuing=True)
        return self.tokenizer.encode(f" {text}" if last is Modality.TEXT else text)
