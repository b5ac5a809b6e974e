"""Answers while they are generated: text as its tokens come, speech as pieces of waveform."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from spiritlm_pl.conversations.template import Side
from spiritlm_pl.generation.codebooks import FrameReader, stretch_tokens
from spiritlm_pl.generation.dialogue import within
from spiritlm_pl.generation.synthesis import Synthesis
from spiritlm_pl.generation.types import FinishReason, Piece, Speech, Text
from spiritlm_pl.generation.waveform_stream import CHUNK_FRAMES, WaveformStream
from spiritlm_pl.vocabulary import Modality, TokenKind, Vocabulary

if TYPE_CHECKING:
    from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # a letter whose bytes have not all come


@dataclass(frozen=True)
class StreamedPiece:
    """New part of an answer that is being generated.

    Attributes:
        number: number of the piece of the answer to which the part belongs, from 0.
        piece: text or waveform that is new.
    """

    number: int
    piece: Piece


@dataclass(frozen=True)
class StreamEnd:
    """End of an answer.

    Attributes:
        finish_reason: "stop" if the model ended by itself, "length" if the limit of new tokens was reached.
    """

    finish_reason: FinishReason


class AnswerStream:
    """Splits an answer into the pieces that `decode_tokens` finds, while its tokens are generated.

    Args:
        text_tokenizer: for words.
        vocabulary: layout of the ids.
        min_speech_units: speech is told once it has so many units, but for a first stretch that continues no speech.
        synthesis: speaks; None to give speech as tokens, at the end of each stretch.
        before: speech at the end of the prompt, which the answer continues; None where it does not.
        chunk_frames: of `UnitStream`.
        lookahead: of `UnitStream`.
        begun: the stretch of speech that the answer continues, up to its closing steps (`Prompt.open_stretch`).
        answers: how the template by which the prompt asks writes answers; None where the prompt is continued.
    """

    def __init__(
        self,
        text_tokenizer: "TextTokenizer",
        vocabulary: Vocabulary,
        min_speech_units: int,
        synthesis: Synthesis | None,
        before: Speech | None,
        chunk_frames: int = CHUNK_FRAMES,
        lookahead: int | None = None,
        begun: Sequence[int] = (),
        answers: Side | None = None,
    ) -> None:
        """Start before the first token."""
        self.answers, self.stretch = answers, -1
        self.text_tokenizer, self.vocabulary, self.min_speech_units = text_tokenizer, vocabulary, min_speech_units
        self.synthesis = synthesis
        self.chunk_frames, self.lookahead = chunk_frames, lookahead
        self.number = -1
        self._open(None, 1 if before is None else max(1, min_speech_units), before, begun)

    def _open(
        self, modality: Modality | None, fewest_units: int, before: Speech | None = None, begun: Sequence[int] = ()
    ) -> None:
        self.modality: Modality | None = modality
        self.stretch += 1
        self.fewest_units, self.before, self.begun_with = fewest_units, before, begun if before is not None else ()
        delayed = bool(self.vocabulary.layout.delays)
        self.reader = FrameReader(self.vocabulary, self.begun_with) if delayed else None
        self.frames: list[list[int]] = []  # where codebooks are delayed
        self.tokens: list[int] = []
        self.last_unit: int | None = None
        self.num_units = 0
        self.told = 0  # letters, or tokens
        self.speech: WaveformStream | None = None
        self.begun = False

    def add(self, token: int) -> Iterator[StreamedPiece]:
        """Yield the text or the waveform that is new with a token."""
        kind = self.vocabulary.kind(token)
        if kind not in (TokenKind.TEXT, TokenKind.SPEECH):
            if kind is TokenKind.MODALITY and self.vocabulary.layout.framewise and self.modality is not None:
                yield from self.end()
                self._open(None, max(1, self.min_speech_units))
            return
        modality = Modality.TEXT if kind is TokenKind.TEXT else Modality.SPEECH
        if self.modality is None:
            self.modality = modality
        elif modality is not self.modality:
            yield from self.end()
            self._open(modality, max(1, self.min_speech_units))
        if self.reader is not None and modality is Modality.SPEECH:
            if (frame := self.reader.add(token)) is not None:
                self.frames.append(frame)
                self.num_units += 1
        elif self.vocabulary.counts_frames(token):
            if self.vocabulary.streams[0].deduplicated and token == self.last_unit:
                return
            self.last_unit, self.num_units = token, self.num_units + 1
        self.tokens.append(token)
        yield from self._tell(ended=False)

    def end(self) -> Iterator[StreamedPiece]:
        """Yield the rest of a stretch, once nothing more will come of it."""
        if self.tokens:
            yield from self._tell(ended=True)

    def _tell(self, ended: bool) -> Iterator[StreamedPiece]:
        if self.modality is Modality.TEXT:
            text = self.text_tokenizer.decode(self.tokens)
            if ended or not text.endswith(UNFINISHED):
                if self.answers is not None:
                    text = within(text, self.answers, self.stretch == 0, ended)
                new, self.told = text[self.told :], len(text)
                yield from self._new(Text(new), bool(new))
            return
        if self.num_units < self.fewest_units:
            return
        if self.synthesis is None:
            if ended:
                yield from self._new(Speech(tokens=self._spoken()), True)
            return
        if self.speech is None:
            self.speech = self.synthesis.stream(self.before, self.chunk_frames, self.lookahead, self.begun_with)
        waveform = self.speech.add(self.tokens[self.told :], ended)
        self.told = len(self.tokens)
        yield from self._new(Speech(waveform, self.synthesis.sample_rate), len(waveform) > 0)

    def _spoken(self) -> tuple[int, ...]:
        """Tokens of speech as `decode_tokens` gives them."""
        return tuple(self.tokens) if self.reader is None else stretch_tokens(torch.tensor(self.frames), self.vocabulary)

    def _new(self, piece: Piece, worth_telling: bool) -> Iterator[StreamedPiece]:
        if worth_telling:
            self.number += 0 if self.begun else 1
            self.begun = True
            yield StreamedPiece(self.number, piece)
