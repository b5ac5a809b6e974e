"""Session that shares one model between users: one request at a time, with limits of waiting requests and lengths.

Shapes: R runs of equal units, S samples.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TypeAlias

import torch
from torch import Tensor

from spiritlm_pl.generation import (
    Dialogue,
    FinishReason,
    GenerationSettings,
    OutputModality,
    Piece,
    Speech,
    SpiritLM,
    StreamedPiece,
    StreamEnd,
    Text,
)
from spiritlm_pl.generation.codebooks import joined_speech
from spiritlm_pl.generation.codec import nothing_to_speak
from spiritlm_pl.generation.prompt import Prompt, told_of_unknown, unknown_characters
from spiritlm_pl.generation.stopping import Progress
from spiritlm_pl.generation.stream import Segment, encode_segments
from spiritlm_pl.generation.synthesis import NO_DURATIONS
from spiritlm_pl.generation.vocode import Voice
from spiritlm_pl.serve.audio import decode_audio
from spiritlm_pl.vocabulary import Modality
from spiritlm_pl.vocoder.vocoder import Vocoder

WARMING: tuple[tuple[Modality, OutputModality], ...] = ((Modality.SPEECH, "text"), (Modality.TEXT, "speech"))
MOST_CONCURRENT = 32  # each request waits on a thread, of which a server has 40


class Busy(RuntimeError):
    """Error for a request when the largest number of requests is already waiting."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of the requests that a server accepts.

    Args:
        max_seconds: largest length of the speech in one request, in seconds.
        max_megabytes: largest size of the body of one request, in MB.
        max_concurrent: largest number of requests that wait for the model or use it.
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
        """Largest number of bytes in the body of one request."""
        return int(self.max_megabytes * 1e6)


New: TypeAlias = "SimpleQueue[StreamedPiece | StreamEnd | Exception]"


class Items(Iterator[StreamedPiece | StreamEnd]):
    """What is new of an answer, up to its end.

    Args:
        new: queue of the items, or of an error in place of the next one.
        closed: set once nobody will read any more.
    """

    def __init__(self, new: New, closed: threading.Event) -> None:
        """Begin before the first item."""
        self.new, self.closed = new, closed

    def __next__(self) -> StreamedPiece | StreamEnd:
        """Wait for the next item."""
        if self.closed.is_set():
            raise StopIteration
        item = self.new.get()
        if not isinstance(item, StreamedPiece):
            self.close()
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        """Read no more; also done where the reader just forgets the items, or has read none of them."""
        self.closed.set()

    __del__ = close


@dataclass(frozen=True)
class Answer:
    """Answer of a model with its tokens.

    Attributes:
        pieces: text and speech in their order.
        prompt_tokens: token ids of the prompt.
        tokens: token ids that the model generated, as far as they are in the pieces.
        finish_reason: "stop" if the model ended by itself, "length" if it reached the largest number of tokens.
    """

    pieces: list[Piece]
    prompt_tokens: list[int]
    tokens: list[int]
    finish_reason: FinishReason


class Session:
    """Model behind a queue of requests.

    Args:
        spirit_lm: model with the tokenizers and the vocoder that it reads and speaks with.
        limits: limits of the requests that are accepted.

    Attributes:
        speakers: names of the vocoder's voices.
        styles: names of the vocoder's global styles.
        speaker: voice that is used if a request names none; None without a vocoder.
        style: global style that is used if a request names none; None for a vocoder without styles.
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
        self._model = threading.Lock()  # protects the language model and the vocoder
        self._tokenizer = threading.Lock()

    def warm_up(self) -> None:
        """Read and answer for nobody, so that no user waits until code is loaded and weights are packed."""
        noise = Speech(0.1 * torch.randn(16_000, generator=torch.Generator()), 16_000)
        settings = GenerationSettings(max_new_tokens=2)
        with self._model, self._tokenizer:
            for prompt, output in WARMING:
                with suppress(ValueError):  # what a model cannot do, its users are told
                    self.spirit_lm.generate([noise if prompt is Modality.SPEECH else Text("a")], output, settings)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait in the queue, and hold the language model and the vocoder exclusively.

        Raises:
            Busy: if too many requests are waiting.
        """
        with self._place(), self._model:
            yield

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Count as one of the requests that wait for the model or use it.

        Raises:
            Busy: if too many requests are waiting.
        """
        if not self._places.acquire(blocking=False):
            most = self.limits.max_concurrent
            raise Busy(f"requests must be at most {most} at a time, but are more: ask again in a few seconds")
        try:
            yield
        finally:
            self._places.release()

    def read_speech(self, data: bytes) -> Speech:
        """Convert an audio file to a piece of speech with waveform, units, durations and tokens.

        This does not wait for an answer that is being generated, since the speech tokenizer has a lock of its own.

        Raises:
            ValueError: if the file is not audio, or is too long, too short, silent or not finite.
            Busy: if too many requests are waiting.
        """
        waveform, sample_rate = decode_audio(data, self.limits.max_seconds)
        with self._place():
            return self._with_tokens(Speech(waveform, sample_rate))

    def answer(
        self,
        prompt: Sequence[Piece] | Dialogue,
        output: OutputModality = "any",
        settings: GenerationSettings | None = None,
        voice: Voice | None = None,
        progress: Progress | None = None,
        template: str | None = None,
    ) -> Answer:
        """Answer a prompt once.

        Args:
            prompt: text, and speech as a waveform, from `read_speech`, or as tokens; or turns of these.
            output: modality of the answer: "text", "speech", or "any" for both.
            settings: sampling options of the answer.
            voice: speaker and style of the speech; the vocoder's defaults if not given.
            progress: function called after every token with the number of tokens done and the largest number; None for
                none.
            template: name of the template by which turns are asked; see `SpiritLM.asked_by`.

        Raises:
            ValueError: if the prompt is empty or too long, the vocoder does not have the voice, or the model was not
                tuned on the template.
            Busy: if too many requests are waiting.
        """
        self._check_seconds(prompt)
        settings = replace(settings or GenerationSettings(), num_samples=1)
        with self._place():
            spirit_lm, prompt = self._ready(prompt, voice, template)
            with self._model:
                (pieces,) = spirit_lm.generate(prompt, output, settings, progress)
        if isinstance(prompt, Dialogue):
            read, written = spirit_lm.encode_prompt(prompt, output), [*pieces.tokens]
        else:
            read = spirit_lm.encode_prompt(prompt)
            written = self._written(pieces, read)
        return Answer(pieces, read.tokens, written, pieces.finish_reason)

    def stream(
        self,
        prompt: Sequence[Piece] | Dialogue,
        output: OutputModality = "any",
        settings: GenerationSettings | None = None,
        voice: Voice | None = None,
        template: str | None = None,
    ) -> "Items":
        """Answer a prompt, and return what is new of the answer while it is made.

        The model goes on at its own speed, so that nobody who reads slowly keeps it from others, and ends early once
        nobody holds the iterator any more, or it is closed. Arguments and errors are those of `answer`, and errors are
        raised before the first item.
        """
        self._check_seconds(prompt)
        settings = settings or GenerationSettings()
        with ExitStack() as held:
            held.enter_context(self._place())
            spirit_lm, prompt = self._ready(prompt, voice, template)
            spirit_lm.check_room(spirit_lm.encode_prompt(prompt, output))
            place = held.pop_all()
        new: New = SimpleQueue()
        closed = threading.Event()

        def generate() -> None:
            try:
                with place, self._model:
                    for item in spirit_lm.stream(prompt, output, settings, stopped=closed.is_set):
                        new.put(item)
                        if closed.is_set():
                            return
            except Exception as error:  # raised where the items are read
                new.put(error)

        threading.Thread(target=generate, daemon=True).start()
        return Items(new, closed)

    def warnings(self, prompt: Sequence[Piece] | Dialogue) -> list[str]:
        """Return what a user should know of a prompt that is answered all the same: characters without tokens."""
        model = self.spirit_lm
        told = told_of_unknown(unknown_characters(prompt, model.text_tokenizer, model.vocabulary))
        return [] if told is None else [told]

    def _check_seconds(self, prompt: Sequence[Piece] | Dialogue) -> None:
        """Refuse a prompt with too much speech, before any of it is tokenized."""
        turns = prompt.turns if isinstance(prompt, Dialogue) else [("", prompt)]
        seconds = sum(_seconds(piece) for _, pieces in turns for piece in pieces)
        if seconds > self.limits.max_seconds:
            most = self.limits.max_seconds
            raise ValueError(f"prompt must hold at most {most:g} s of speech, but holds {seconds:.1f} s instead")

    def _ready(
        self, prompt: Sequence[Piece] | Dialogue, voice: Voice | None, template: str | None
    ) -> tuple[SpiritLM, Sequence[Piece] | Dialogue]:
        """Return the model in a voice, asked by a template if there are turns, and the prompt with tokenized speech.

        Speech is tokenized once, and before the turn, so that it does not block the model.
        """
        spirit_lm = self._in_voice(voice)
        if not isinstance(prompt, Dialogue):
            return spirit_lm, self._tokenized(prompt)
        spirit_lm = spirit_lm.asked_by(template)
        return spirit_lm, Dialogue([(role, self._tokenized(pieces)) for role, pieces in prompt.turns])

    def _tokenized(self, pieces: Sequence[Piece] | str) -> list[Piece]:
        assert not isinstance(pieces, str), "a string could hold control tokens"
        return [self._with_tokens(piece) if isinstance(piece, Speech) else piece for piece in pieces]

    def _with_tokens(self, speech: Speech) -> Speech:
        """Tokenize speech that has no tokens yet, one request at a time."""
        with self._tokenizer if speech.tokens is None else nullcontext():
            return self.spirit_lm.codec.encode(speech)

    def vocode(
        self, tokens: Sequence[int], durations: Sequence[int] | None = None, voice: Voice | None = None
    ) -> Speech:
        """Speak tokens of speech.

        Args:
            tokens: token ids of units, with pitch and style among them if the model has them.
            durations: number of frames of each unit; predicted if not given.
            voice: speaker and style of the speech; the vocoder's defaults if not given.

        Raises:
            ValueError: if there is no vocoder, no such voice or no unit, durations do not fit, or it lasts too long.
            Busy: if too many requests are waiting.
        """
        with self.turn():
            spirit_lm = self._in_voice(voice)
            synthesis = spirit_lm.synthesis
            if synthesis is None:
                raise ValueError("a vocoder must be in the model's folder, but there is none")
            tokens = joined_speech([tokens], spirit_lm.vocabulary)
            units = synthesis.units(tokens)
            if not len(units):
                raise nothing_to_speak(spirit_lm.vocabulary.layout)
            frames = torch.tensor(durations) if durations else synthesis.durations(tokens)
            if len(frames) != len(units):
                if spirit_lm.vocabulary.layout.framewise:
                    raise ValueError(NO_DURATIONS)
                raise ValueError(f"durations must be {len(units)}, one for each unit, but are {len(frames)} instead")
            seconds, most = int(frames.sum()) * synthesis.hop_length / synthesis.sample_rate, self.limits.max_seconds
            if seconds > most:
                raise ValueError(f"speech must last at most {most:g} s, but would last {seconds:.1f} s instead")
            waveform = synthesis.speak(tokens, frames)
        said = units if spirit_lm.vocabulary.layout.phonetic else None
        return Speech(waveform, synthesis.sample_rate, said, frames, tuple(tokens))

    def _in_voice(self, voice: Voice | None) -> SpiritLM:
        """Return the same model with another voice."""
        return self.spirit_lm if voice is None else self.spirit_lm.in_voice(voice.speaker, voice.style)

    def _written(self, pieces: Sequence[Piece], prompt: Prompt) -> list[int]:
        """Return the ids of an answer behind those of its prompt, with modality tokens at changes."""
        segments = [_segment(piece) for piece in pieces]
        segments = [segment for segment in segments if segment.tokens]
        if not segments:
            return []
        first, vocabulary = segments[0].modality, self.spirit_lm.vocabulary
        if prompt.stretch and vocabulary.layout.delays:  # whose closing steps come behind the prompt
            whole = encode_segments([Segment(Modality.SPEECH, prompt.stretch), *segments], vocabulary, closed=True)
            return whole[1 + len(prompt.open_stretch(vocabulary)) :]
        _, *tokens = encode_segments(segments, vocabulary, closed=True)
        return tokens if first is prompt.last else [vocabulary.change_marker(first), *tokens]


def _segment(piece: Piece) -> Segment:
    """Return a piece of an answer as the tokens that the model generated."""
    assert piece.tokens is not None
    return Segment(Modality.TEXT if isinstance(piece, Text) else Modality.SPEECH, piece.tokens)


def _seconds(piece: Piece | str) -> float:
    """Return the length of a piece with a waveform in seconds; 0 for others."""
    if isinstance(piece, Speech) and isinstance(piece.audio, Tensor):
        return piece.audio.shape[-1] / piece.sample_rate
    return 0.0
