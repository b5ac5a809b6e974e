"""Answers while they are made: text as its tokens come, speech as stretches of waveform.

A vocoder sees a window of units with a margin on both sides, as wide as its layers reach, so that the stretches put
together are the waveform that it would have made of all units at once.

Shapes: R runs of equal units, S samples.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spiritlm_pl.data.merge import NONE
from spiritlm_pl.generation.stream import SPEECH_KINDS
from spiritlm_pl.generation.types import FinishReason, Piece, Speech, Text
from spiritlm_pl.generation.vocode import SpokenUnits, Voice, spoken_units
from spiritlm_pl.vocabulary import Modality, TokenKind, Vocabulary
from spiritlm_pl.vocoder.duration import durations_from_log

if TYPE_CHECKING:
    from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
    from spiritlm_pl.vocoder.vocoder import Vocoder

CHUNK_FRAMES = 10  # of waveform, at least: 0.4 s
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


class SpeechStream:
    """Waveforms of one stretch of speech while its tokens come.

    Args:
        vocoder: speaks.
        vocabulary: layout of the ids.
        voice: who speaks.
        before: speech that is continued; it is not repeated.
        chunk_frames: shortest waveform that is made, but for the last.
        lookahead: frames that must follow those that are spoken; the vocoder's margin if not given. Fewer are faster,
            and no longer exact: 12 of a margin of 19 were off by 2e-4 at most in the quickstart's vocoders.
    """

    def __init__(
        self,
        vocoder: "Vocoder",
        vocabulary: Vocabulary,
        voice: Voice,
        before: Speech | None = None,
        chunk_frames: int = CHUNK_FRAMES,
        lookahead: int | None = None,
    ) -> None:
        """Start with what is continued."""
        if chunk_frames < 1 or (lookahead is not None and lookahead < 0):
            raise ValueError(
                "chunk_frames must be at least 1 and lookahead at least 0, "
                f"but are {chunk_frames} and {lookahead} instead"
            )
        self.vocoder, self.vocabulary, self.voice, self.chunk_frames = vocoder, vocabulary, voice, chunk_frames
        self.lookahead = vocoder.margin if lookahead is None else min(lookahead, vocoder.margin)
        self.tokens = list(before.tokens or ()) if before is not None else []
        self.num_before = len(self._spoken().units)
        self.durations = torch.zeros(0, dtype=torch.long)
        if before is not None and before.durations is not None and len(before.durations) == self.num_before:
            self.durations = before.durations
        self.made: int | None = None  # frames

    def add(self, tokens: Iterable[int], ended: bool = False) -> Tensor:
        """What can be said (S,) once these tokens are known; nothing, often."""
        self.tokens += tokens
        spoken = self._spoken()
        units = spoken.units
        settled = len(units) if ended else max(0, len(units) - self.vocoder.duration_predictor.reach)
        waits = self.vocoder.expressive and len(units) > 0 and NONE in (int(spoken.pitches[0]), int(spoken.styles[0]))
        if settled <= self.num_before or (waits and not ended):
            return torch.zeros(0)
        device = self.vocoder.unit_embedding.weight.device
        predicted = durations_from_log(self.vocoder.predict_log_durations(units[None].to(device)))[0].cpu()
        self.durations = torch.cat([self.durations, predicted[len(self.durations) : settled]])
        if self.made is None:
            self.made = int(self.durations[: self.num_before].sum())
        frames = SpokenUnits(
            *(part[:settled].repeat_interleave(self.durations) for part in (units, spoken.pitches, spoken.styles))
        )
        ready = len(frames.units) - (0 if ended else self.lookahead)
        if ready - self.made < (1 if ended else self.chunk_frames):
            return torch.zeros(0)
        return self._speak(frames, ready)

    def _speak(self, frames: SpokenUnits, ready: int) -> Tensor:
        """Waveform of frames up to a place, from where the last one ended."""
        assert self.made is not None
        first, hop = max(0, self.made - self.vocoder.margin), self.vocoder.hop_length
        window = frames.after(first)
        pitches, styles = (window.pitches, window.styles) if self.vocoder.expressive else (None, None)
        waveform = self.vocoder.speak_frames(window.units, self.voice.speaker, pitches, styles, self.voice.style)
        cut = waveform[(self.made - first) * hop : (ready - first) * hop]
        self.made = ready
        return cut

    def _spoken(self) -> SpokenUnits:
        return spoken_units(self.tokens, self.vocabulary, self.vocoder)


class AnswerStream:
    """Pieces of an answer while its tokens come, as `decode_tokens` finds them.

    Args:
        text_tokenizer: for words.
        vocabulary: layout of the ids.
        min_speech_units: speech is told once it has so many units, but for a first stretch that continues no speech.
        vocoder: speaks; None to give speech as tokens, at the end of each stretch.
        voice: who speaks.
        before: speech at the end of the prompt, which the answer continues; None where it does not.
        chunk_frames: of `SpeechStream`.
        lookahead: of `SpeechStream`.
    """

    def __init__(
        self,
        text_tokenizer: "TextTokenizer",
        vocabulary: Vocabulary,
        min_speech_units: int,
        vocoder: "Vocoder | None",
        voice: Voice,
        before: Speech | None,
        chunk_frames: int = CHUNK_FRAMES,
        lookahead: int | None = None,
    ) -> None:
        """Nothing is known yet."""
        self.text_tokenizer, self.vocabulary, self.min_speech_units = text_tokenizer, vocabulary, min_speech_units
        self.vocoder, self.voice = vocoder, voice
        self.chunk_frames, self.lookahead = chunk_frames, lookahead
        self.number = -1
        self._open(None, 1 if before is None else max(1, min_speech_units), before)

    def _open(self, modality: Modality | None, fewest_units: int, before: Speech | None = None) -> None:
        self.modality: Modality | None = modality
        self.fewest_units, self.before = fewest_units, before
        self.tokens: list[int] = []
        self.told = 0  # letters, or tokens
        self.speech: SpeechStream | None = None
        self.begun = False

    def add(self, token: int) -> Iterator[StreamedPiece]:
        """What is new with a token."""
        kind = self.vocabulary.kind(token)
        if kind not in (TokenKind.TEXT, *SPEECH_KINDS):
            return
        modality = Modality.TEXT if kind is TokenKind.TEXT else Modality.SPEECH
        if self.modality is None:
            self.modality = modality
        elif modality is not self.modality:
            yield from self.end()
            self._open(modality, max(1, self.min_speech_units))
        if kind is TokenKind.UNIT and token == self._last_unit():  # units are deduplicated
            return
        self.tokens.append(token)
        yield from self._tell(ended=False)

    def end(self) -> Iterator[StreamedPiece]:
        """What is new since nothing more will come of the stretch."""
        if self.tokens:
            yield from self._tell(ended=True)

    def _tell(self, ended: bool) -> Iterator[StreamedPiece]:
        if self.modality is Modality.TEXT:
            text = self.text_tokenizer.decode(self.tokens)
            if ended or not text.endswith(UNFINISHED):
                new, self.told = text[self.told :], len(text)
                yield from self._new(Text(new), bool(new))
            return
        if len(self._units()) < self.fewest_units:
            return
        if self.vocoder is None:
            yield from self._new(Speech(tokens=tuple(self.tokens)), ended)
            return
        if self.speech is None:
            self.speech = SpeechStream(
                self.vocoder, self.vocabulary, self.voice, self.before, self.chunk_frames, self.lookahead
            )
        waveform = self.speech.add(self.tokens[self.told :], ended)
        self.told = len(self.tokens)
        yield from self._new(Speech(waveform, self.vocoder.sample_rate), len(waveform) > 0)

    def _units(self) -> list[int]:
        return [token for token in self.tokens if self.vocabulary.kind(token) is TokenKind.UNIT]

    def _last_unit(self) -> int | None:
        units = self._units()
        return units[-1] if units else None

    def _new(self, piece: Piece, worth_telling: bool) -> Iterator[StreamedPiece]:
        if worth_telling:
            self.number += 0 if self.begun else 1
            self.begun = True
            yield StreamedPiece(self.number, piece)
