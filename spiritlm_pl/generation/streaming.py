"""Answers while they are made: text as its tokens come, speech as stretches of waveform."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spiritlm_pl.generation.synthesis import Synthesis
from spiritlm_pl.generation.types import FinishReason, Piece, Speech, Text
from spiritlm_pl.generation.waveform_stream import CHUNK_FRAMES, WaveformStream
from spiritlm_pl.vocabulary import Modality, TokenKind, Vocabulary

if TYPE_CHECKING:
    from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # a letter whose bytes have not all come


@dataclass(frozen=True)
class StreamedPiece:
    """Something new.

    Attributes:
        number: of the piece of the answer that it belongs to, from 0.
        piece: the text or the waveform that is new.
    """

    number: int
    piece: Piece


@dataclass(frozen=True)
class StreamEnd:
    """Nothing more comes.

    Attributes:
        finish_reason: "stop" where the model ended by itself, "length" where it had no new tokens left.
    """

    finish_reason: FinishReason


class AnswerStream:
    """Pieces of an answer while its tokens come, as `decode_tokens` finds them.

    Args:
        text_tokenizer: for words.
        vocabulary: layout of the ids.
        min_speech_units: speech is told once it has so many units, but for a first stretch that continues no speech.
        synthesis: speaks; None to give speech as tokens, at the end of each stretch.
        before: speech at the end of the prompt, which the answer continues; None where it does not.
        chunk_frames: of `UnitStream`.
        lookahead: of `UnitStream`.
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
    ) -> None:
        """Nothing is known yet."""
        self.text_tokenizer, self.vocabulary, self.min_speech_units = text_tokenizer, vocabulary, min_speech_units
        self.synthesis = synthesis
        self.chunk_frames, self.lookahead = chunk_frames, lookahead
        self.number = -1
        self._open(None, 1 if before is None else max(1, min_speech_units), before)

    def _open(self, modality: Modality | None, fewest_units: int, before: Speech | None = None) -> None:
        self.modality: Modality | None = modality
        self.fewest_units, self.before = fewest_units, before
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
        if self.vocabulary.counts_frames(token):
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
                new, self.told = text[self.told :], len(text)
                yield from self._new(Text(new), bool(new))
            return
        if self.num_units < self.fewest_units:
            return
        if self.synthesis is None:
            yield from self._new(Speech(tokens=tuple(self.tokens)), ended)
            return
        if self.speech is None:
            self.speech = self.synthesis.stream(self.before, self.chunk_frames, self.lookahead)
        waveform = self.speech.add(self.tokens[self.told :], ended)
        self.told = len(self.tokens)
        yield from self._new(Speech(waveform, self.synthesis.sample_rate), len(waveform) > 0)

    def _new(self, piece: Piece, worth_telling: bool) -> Iterator[StreamedPiece]:
        if worth_telling:
            self.number += 0 if self.begun else 1
            self.begun = True
            yield StreamedPiece(self.number, piece)
