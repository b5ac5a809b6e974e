"""One model for many who ask: one at a time, few waiting, nothing longer than allowed.

Shapes: R runs of equal units, S samples.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spiritlm_pl.generation import FinishReason, GenerationSettings, OutputModality, Piece, Speech, SpiritLM, Text
from spiritlm_pl.generation.spirit_lm import Progress
from spiritlm_pl.generation.stream import Segment, encode_segments
from spiritlm_pl.generation.vocode import Voice
from spiritlm_pl.serve.audio import decode_audio
from spiritlm_pl.vocabulary import Modality
from spiritlm_pl.vocoder.vocoder import Vocoder

MOST_CONCURRENT = 32  # each waits on a thread, of which a server has 40


class Busy(RuntimeError):
    """As many ask as may wait."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server takes.

    Args:
        max_seconds: speech of one request.
        max_megabytes: body of one request.
        max_concurrent: requests that wait for the model or use it.
    """

    max_seconds: float = 60.0
    max_megabytes: float = 20.0
    max_concurrent: int = 8

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("max_seconds", "max_megabytes"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0, but is {getattr(self, name)} instead")
        if not 1 <= self.max_concurrent <= MOST_CONCURRENT:
            raise ValueError(f"max_concurrent must be in [1, {MOST_CONCURRENT}], but is {self.max_concurrent} instead")

    @property
    def max_bytes(self) -> int:
        """Bytes in the body of one request."""
        return int(self.max_megabytes * 1e6)


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Attributes:
        pieces: text and speech in their order.
        prompt_tokens: ids that it read.
        tokens: ids that it wrote, as far as they are in the pieces.
        finish_reason: "stop" where it ended by itself, "length" where it had no new tokens left.
    """

    pieces: list[Piece]
    prompt_tokens: list[int]
    tokens: list[int]
    finish_reason: FinishReason


class Session:
    """A model behind a queue.

    Args:
        spirit_lm: the model and what it reads and speaks with.
        limits: what is allowed.

    Attributes:
        speakers: names of the voices.
        styles: names of the global styles.
        speaker: the voice that speaks where none is asked for; None without a vocoder.
        style: likewise.
    """

    def __init__(self, spirit_lm: SpiritLM, limits: Limits | None = None) -> None:
        """Keep the model."""
        self.spirit_lm, self.limits = spirit_lm, limits or Limits()
        vocoder = spirit_lm.vocoder
        self.speakers = vocoder.config.speakers if isinstance(vocoder, Vocoder) else ()
        self.styles = vocoder.config.styles if isinstance(vocoder, Vocoder) else ()
        self.speaker = self.speakers[vocoder.speaker_id(None)] if vocoder and self.speakers else None
        self.style = self.styles[vocoder.style_id(None)] if vocoder and self.styles else None
        self._places = threading.BoundedSemaphore(self.limits.max_concurrent)
        self._model = threading.Lock()  # the language model and the vocoder
        self._tokenizer = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Take a place and have the language model and the vocoder alone.

        Raises:
            Busy: if too many wait already.
        """
        with self._place(), self._model:
            yield

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Be one of the requests that wait for the model or use it.

        Raises:
            Busy: if too many wait already.
        """
        if not self._places.acquire(blocking=False):
            most = self.limits.max_concurrent
            raise Busy(f"requests must be at most {most} at a time, but are more: ask again in a few seconds")
        try:
            yield
        finally:
            self._places.release()

    def read_speech(self, data: bytes) -> Speech:
        """Make a speech piece of an audio file: its waveform, units, durations and tokens.

        It does not wait for an answer that is being made: the speech tokenizer is none of the model's parts.

        Raises:
            ValueError: if it is no audio, too long, too short, silent or not finite.
            Busy: if too many wait already.
        """
        waveform, sample_rate = decode_audio(data, self.limits.max_seconds)
        with self._place():
            return self._with_tokens(Speech(waveform, sample_rate))

    def answer(
        self,
        prompt: Sequence[Piece],
        output: OutputModality = "any",
        settings: GenerationSettings | None = None,
        voice: Voice | None = None,
        progress: Progress | None = None,
    ) -> Answer:
        """Continue a prompt once.

        Args:
            prompt: text, and speech as a waveform, from `read_speech`, or as tokens.
            output: what may be generated.
            settings: sampling options.
            voice: who speaks; the vocoder's default voice if not given.
            progress: called after every token with the number of tokens done and at most.

        Raises:
            ValueError: if the prompt is empty or too long, or there is no such voice.
            Busy: if too many wait already.
        """
        seconds = sum(_seconds(piece) for piece in prompt)
        if seconds > self.limits.max_seconds:  # before any of it is tokenized
            most = self.limits.max_seconds
            raise ValueError(f"prompt must hold at most {most:g} s of speech, but holds {seconds:.1f} s instead")
        with self._place():
            spirit_lm = self._in_voice(voice)
            # Once, and before the turn: the model's time is not spent on it.
            prompt = [self._with_tokens(piece) if isinstance(piece, Speech) else piece for piece in prompt]
            return self._continued(spirit_lm, prompt, output, settings or GenerationSettings(), progress)

    def _with_tokens(self, speech: Speech) -> Speech:
        """Tokenize speech where it has no tokens yet, one request at a time."""
        with self._tokenizer if speech.tokens is None else nullcontext():
            return self.spirit_lm.codec.encode(speech)

    def _continued(
        self,
        spirit_lm: SpiritLM,
        prompt: Sequence[Piece],
        output: OutputModality,
        settings: GenerationSettings,
        progress: Progress | None,
    ) -> Answer:
        """Continue a prompt whose speech has tokens, alone with the model."""
        with self._model:
            (pieces,) = spirit_lm.generate(prompt, output, replace(settings, num_samples=1), progress)
        read = spirit_lm.encode_prompt(prompt)
        return Answer(pieces, read.tokens, self._written(pieces, read.last), pieces.finish_reason)

    def vocode(
        self, tokens: Sequence[int], durations: Sequence[int] | None = None, voice: Voice | None = None
    ) -> Speech:
        """Speak tokens of speech.

        Args:
            tokens: ids of units, with pitch and style among them where the model has them.
            durations: frames of each unit; predicted if not given.
            voice: who speaks; the vocoder's default voice if not given.

        Raises:
            ValueError: if there is no vocoder, no such voice or no unit, durations do not fit, or it lasts too long.
            Busy: if too many wait already.
        """
        with self.turn():
            spirit_lm = self._in_voice(voice)
            synthesis = spirit_lm.synthesis
            if synthesis is None:
                raise ValueError("a vocoder must be in the model's folder, but there is none")
            units = synthesis.units(tokens)
            if not len(units):
                raise ValueError("tokens must hold at least one unit, but hold none")
            frames = torch.tensor(durations) if durations else synthesis.durations(tokens)
            if len(frames) != len(units):
                raise ValueError(f"durations must be {len(units)}, one a unit, but are {len(frames)} instead")
            seconds, most = int(frames.sum()) * synthesis.hop_length / synthesis.sample_rate, self.limits.max_seconds
            if seconds > most:
                raise ValueError(f"speech must last at most {most:g} s, but would last {seconds:.1f} s instead")
            waveform = synthesis.speak(tokens, frames)
        said = units if spirit_lm.vocabulary.layout.phonetic else None
        return Speech(waveform, synthesis.sample_rate, said, frames, tuple(tokens))

    def _in_voice(self, voice: Voice | None) -> SpiritLM:
        """The same model in another voice."""
        return self.spirit_lm if voice is None else self.spirit_lm.in_voice(voice.speaker, voice.style)

    def _written(self, pieces: Sequence[Piece], last: Modality) -> list[int]:
        """Ids of an answer to a prompt that ends in a modality; at each change stands its token."""
        segments = [_segment(piece) for piece in pieces]
        segments = [segment for segment in segments if segment.tokens]
        if not segments:
            return []
        first, vocabulary = segments[0].modality, self.spirit_lm.vocabulary
        _, *tokens = encode_segments(segments, vocabulary)
        return tokens if first is last else [vocabulary.change_marker(first), *tokens]


def _segment(piece: Piece) -> Segment:
    """A piece of an answer as the model wrote it."""
    assert piece.tokens is not None
    return Segment(Modality.TEXT if isinstance(piece, Text) else Modality.SPEECH, piece.tokens)


def _seconds(piece: Piece) -> float:
    """How long a piece with a waveform lasts; 0 for others."""
    if isinstance(piece, Speech) and isinstance(piece.audio, Tensor):
        return piece.audio.shape[-1] / piece.sample_rate
    return 0.0
